//! The table of routes: what the router serves and what the OpenAPI document says, once.

use axum::routing::MethodFilter;

/// Every endpoint of the operator API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Status,
    ListDatabases,
    CreateDatabase,
    DescribeDatabase,
    DropDatabase,
    ImportDatabase,
    ExportDatabase,
    Probe,
    CheckJoin,
    Join,
    CancelJoin,
    AddPartner,
    Failover,
    AssessPromotion,
    Promote,
    Suspend,
    Resume,
    StopMirroring,
    Health,
    HealthPrincipal,
    HealthMirror,
    OpenApi,
}

/// An HTTP method that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    /// As axum takes it.
    pub fn filter(self) -> MethodFilter {
        match self {
            Method::Get => MethodFilter::GET,
            Method::Put => MethodFilter::PUT,
            Method::Post => MethodFilter::POST,
            Method::Delete => MethodFilter::DELETE,
        }
    }

    /// As OpenAPI spells it.
    pub fn key(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Put => "put",
            Method::Post => "post",
            Method::Delete => "delete",
        }
    }
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Nothing,
    /// JSON, of the schema with this name.
    Json(&'static str),
    /// A plain SQLite file.
    SqliteFile,
}

/// What is known about an endpoint.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    pub request: Content,
    /// HTTP status and content of a success.
    pub success: (u16, Content),
    /// The codes that are particular to this endpoint; their statuses come from `problem::status_of`.
    pub refusals: &'static [&'static str],
}

impl Endpoint {
    /// All of them. A variant that is missing here is never constructed, which the compiler reports.
    pub const ALL: [Endpoint; 22] = [
        Endpoint::Status,
        Endpoint::ListDatabases,
        Endpoint::CreateDatabase,
        Endpoint::DescribeDatabase,
        Endpoint::DropDatabase,
        Endpoint::ImportDatabase,
        Endpoint::ExportDatabase,
        Endpoint::Probe,
        Endpoint::CheckJoin,
        Endpoint::Join,
        Endpoint::CancelJoin,
        Endpoint::AddPartner,
        Endpoint::Failover,
        Endpoint::AssessPromotion,
        Endpoint::Promote,
        Endpoint::Suspend,
        Endpoint::Resume,
        Endpoint::StopMirroring,
        Endpoint::Health,
        Endpoint::HealthPrincipal,
        Endpoint::HealthMirror,
        Endpoint::OpenApi,
    ];

    /// This endpoint's row of the table.
    pub fn route(self) -> Route {
        match self {
            Endpoint::Status => {
                get("/api/v1/status", "Status", "Role, state, positions, partners and errors")
            }
            Endpoint::OpenApi => get("/api/v1/openapi.json", "OpenApi", "This document"),
            Endpoint::Health => get("/health", "Health", "200 while the server is alive"),
            Endpoint::HealthPrincipal => {
                get("/health/principal", "Health", "200 where writes are taken")
                    .refuses(&["HEALTH_NOT_PRINCIPAL", "HEALTH_WRITES_REFUSED"])
            }
            Endpoint::HealthMirror => {
                get("/health/mirror", "Health", "200 on a mirror that serves reads")
                    .refuses(&["HEALTH_NOT_MIRROR", "HEALTH_READS_REFUSED"])
            }
            Endpoint::ListDatabases
            | Endpoint::CreateDatabase
            | Endpoint::DescribeDatabase
            | Endpoint::DropDatabase
            | Endpoint::ImportDatabase
            | Endpoint::ExportDatabase => self.database_route(),
            _ => self.mirroring_route(),
        }
    }

    fn database_route(self) -> Route {
        const ALL: &str = "/api/v1/databases";
        const ONE: &str = "/api/v1/databases/{name}";
        const CONTENT: &str = "/api/v1/databases/{name}/content";
        match self {
            Endpoint::ListDatabases => get(ALL, "DatabaseList", "All databases, by name"),
            Endpoint::CreateDatabase => {
                post(ALL, "NewDatabase", "DatabaseSummary", "Makes an empty database")
                    .gives(201)
                    .refuses(&[
                        "INVALID_DATABASE_NAME",
                        "DATABASE_EXISTS",
                        "READ_ONLY_MIRROR",
                        "DISK_FULL",
                    ])
            }
            Endpoint::DescribeDatabase => get(ONE, "DatabaseDetails", "One database in detail")
                .refuses(&["INVALID_DATABASE_NAME", "DATABASE_NOT_FOUND"]),
            Endpoint::DropDatabase => delete(ONE, "Drops a database, with all its content")
                .refuses(&[
                    "INVALID_DATABASE_NAME",
                    "DATABASE_NOT_FOUND",
                    "DATABASE_PROTECTED",
                    "READ_ONLY_MIRROR",
                ]),
            Endpoint::ImportDatabase => Route {
                method: Method::Put,
                path: CONTENT,
                summary: "Makes a database from a SQLite file; it must not exist, or be an empty `main`",
                request: Content::SqliteFile,
                success: (201, Content::Json("DatabaseSummary")),
                refusals: &[
                    "INVALID_DATABASE_NAME",
                    "IMPORT_INVALID",
                    "IMPORT_BROKEN_OFF",
                    "DATABASE_EXISTS",
                    "READ_ONLY_MIRROR",
                    "DISK_FULL",
                ],
            },
            Endpoint::ExportDatabase => Route {
                success: (200, Content::SqliteFile),
                ..get(
                    CONTENT,
                    "",
                    "A consistent snapshot as a plain SQLite file, while writes go on",
                )
            }
            .refuses(&["INVALID_DATABASE_NAME", "DATABASE_NOT_FOUND"]),
            other => unreachable!("{other:?} is not about databases"),
        }
    }

    fn mirroring_route(self) -> Route {
        const JOIN: &str = "/api/v1/mirroring/join";
        const PROMOTION: &str = "/api/v1/mirroring/promotion";
        match self {
            Endpoint::Probe => post(
                "/api/v1/mirroring/probe",
                "Probe",
                "PeerIdentity",
                "Dials a partner address and says who answers",
            )
            .refuses(&[
                "INVALID_ADDRESS",
                "PARTNER_UNREACHABLE",
                "PARTNER_IS_SELF",
                "VERSION_MISMATCH",
            ]),
            Endpoint::CheckJoin => post(
                "/api/v1/mirroring/check-join",
                "CheckJoin",
                "Done",
                "Whether this server could become a mirror; changes nothing",
            )
            .refuses(&["ROLE_TAKEN", "NOT_EMPTY", "DISK_FULL"]),
            Endpoint::Join => {
                post(JOIN, "Join", "Done", "Makes this server a mirror of a principal").refuses(&[
                    "INVALID_ADDRESS",
                    "ROLE_TAKEN",
                    "NOT_EMPTY",
                    "DISK_FULL",
                ])
            }
            Endpoint::CancelJoin => {
                delete(JOIN, "Takes back a join that the principal never confirmed")
            }
            Endpoint::AddPartner => post(
                "/api/v1/mirroring/partners",
                "Partner",
                "Done",
                "Makes this server the principal of a mirror that has joined",
            )
            .refuses(&[
                "INVALID_ADDRESS",
                "INVALID_SAFETY",
                "ROLE_TAKEN",
                "SESSION_MISMATCH",
            ]),
            Endpoint::Failover => post(
                "/api/v1/mirroring/failover",
                "Failover",
                "Outcome",
                "Swaps the roles with a synchronized mirror; loses nothing",
            )
            .refuses(&[
                "WRONG_ROLE",
                "WRONG_STATE",
                "UNKNOWN_PARTNER",
                "PARTNER_NOT_NAMED",
                "PARTNER_LOST",
                "TIMED_OUT",
                "BUSY",
            ]),
            Endpoint::AssessPromotion => {
                get(PROMOTION, "Outcome", "What a promotion would mean now, and what it may lose")
            }
            Endpoint::Promote => post(
                PROMOTION,
                "Nothing",
                "Outcome",
                "Makes this disconnected mirror the principal; may lose what never reached it",
            ),
            Endpoint::Suspend => post(
                "/api/v1/mirroring/suspend",
                "WhichPartner",
                "Done",
                "Suspends a mirror, or all",
            )
            .refuses(&["WRONG_ROLE", "WRONG_STATE", "UNKNOWN_PARTNER"]),
            Endpoint::Resume => post(
                "/api/v1/mirroring/resume",
                "WhichPartner",
                "Done",
                "Resumes a suspended mirror, or all",
            )
            .refuses(&["WRONG_ROLE", "WRONG_STATE", "UNKNOWN_PARTNER"]),
            Endpoint::StopMirroring => delete(
                "/api/v1/mirroring",
                "Ends mirroring; both servers are standalone afterwards",
            )
            .refuses(&[
                "INVALID_QUERY",
                "WRONG_ROLE",
                "UNKNOWN_PARTNER",
                "PARTNER_NOT_NAMED",
            ]),
            other => unreachable!("{other:?} is not about mirroring"),
        }
    }
}

impl Route {
    fn refuses(self, codes: &'static [&'static str]) -> Route {
        Route { refusals: codes, ..self }
    }

    fn gives(self, status: u16) -> Route {
        Route { success: (status, self.success.1), ..self }
    }
}

fn get(path: &'static str, gives: &'static str, summary: &'static str) -> Route {
    let success = (200, Content::Json(gives));
    Route { method: Method::Get, path, summary, request: Content::Nothing, success, refusals: &[] }
}

fn post(
    path: &'static str,
    takes: &'static str,
    gives: &'static str,
    summary: &'static str,
) -> Route {
    Route { method: Method::Post, request: Content::Json(takes), ..get(path, gives, summary) }
}

fn delete(path: &'static str, summary: &'static str) -> Route {
    Route { method: Method::Delete, ..get(path, "Done", summary) }
}
