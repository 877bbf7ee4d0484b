//! The table of routes: what the router serves and what the OpenAPI document says, once.

use axum::routing::MethodFilter;

/// Every endpoint of the operator API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Status,
    Metrics,
    ListAlarms,
    AcknowledgeAlarm,
    TestAlarms,
    ListDatabases,
    CreateDatabase,
    DescribeDatabase,
    DropDatabase,
    ImportDatabase,
    ExportDatabase,
    Backup,
    TakeBackup,
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
    Rejoin,
    Scrub,
    StartScrub,
    Checksums,
    CompareChecksums,
    ListOrphans,
    ShowOrphans,
    OrphanRows,
    ExportOrphans,
    DropOrphans,
    WhoAmI,
    ListTokens,
    CreateToken,
    RevokeToken,
    ListUsers,
    CreateUser,
    SetPassword,
    DropUser,
    Login,
    Audit,
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
    /// Bytes of a kind that the query chose.
    File,
    /// A backup of all databases.
    BackupFile,
    /// What Prometheus reads.
    Metrics,
}

/// What is known about an endpoint.
pub struct Route {
    pub endpoint: Endpoint,
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    pub request: Content,
    /// HTTP status and content of a success.
    pub success: (u16, Content),
    /// The codes that are particular to this endpoint; their statuses come from `problem::status_of`.
    pub refusals: &'static [&'static str],
}

/// The table.
const TABLE: [Route; 48] = [
    get(
        Endpoint::Status,
        "/api/v1/status",
        "Status",
        "Role, state, positions, partners and errors",
    ),
    Route {
        endpoint: Endpoint::Metrics,
        method: Method::Get,
        path: "/metrics",
        summary: "Figures for Prometheus",
        request: Content::Nothing,
        success: (200, Content::Metrics),
        refusals: &[],
    },
    get(Endpoint::ListAlarms, "/api/v1/alarms", "Alarms", "Active alarms, and those that are over"),
    post(
        Endpoint::AcknowledgeAlarm,
        "/api/v1/alarms/{id}/acknowledge",
        "Nothing",
        "Alarm",
        "Says that somebody knows of an alarm",
    )
    .refuses(&["INVALID_PATH", "ALARM_NOT_FOUND"]),
    post(
        Endpoint::TestAlarms,
        "/api/v1/alarms/test",
        "Nothing",
        "Test",
        "Has every channel tell something that is no alarm",
    )
    .refuses(&["NO_CHANNELS"]),
    get(Endpoint::ListDatabases, DATABASES, "DatabaseList", "All databases, by name"),
    post(
        Endpoint::CreateDatabase,
        DATABASES,
        "NewDatabase",
        "DatabaseSummary",
        "Makes an empty database",
    )
    .gives(201)
    .refuses(&["INVALID_DATABASE_NAME", "DATABASE_EXISTS", "READ_ONLY_MIRROR", "DISK_FULL"]),
    get(Endpoint::DescribeDatabase, DATABASE, "DatabaseDetails", "One database in detail")
        .refuses(&["INVALID_DATABASE_NAME", "DATABASE_NOT_FOUND"]),
    delete(Endpoint::DropDatabase, DATABASE, "Drops a database, with all its content").refuses(&[
        "INVALID_DATABASE_NAME",
        "DATABASE_NOT_FOUND",
        "DATABASE_PROTECTED",
        "READ_ONLY_MIRROR",
    ]),
    Route {
        endpoint: Endpoint::ImportDatabase,
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
    Route {
        endpoint: Endpoint::ExportDatabase,
        method: Method::Get,
        path: CONTENT,
        summary: "A consistent snapshot as a plain SQLite file, while writes go on",
        request: Content::Nothing,
        success: (200, Content::SqliteFile),
        refusals: &["INVALID_DATABASE_NAME", "DATABASE_NOT_FOUND"],
    },
    Route {
        endpoint: Endpoint::Backup,
        method: Method::Get,
        path: "/api/v1/backup",
        summary: "All databases in one file, as of one position, while writes go on",
        request: Content::Nothing,
        success: (200, Content::BackupFile),
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::TakeBackup,
        method: Method::Put,
        path: "/api/v1/mirroring/backups/{file}",
        summary: "Gives a mirror-to-be a backup, so that joining sends only what differs from it",
        request: Content::BackupFile,
        success: (200, Content::Json("Done")),
        refusals: &[
            "INVALID_DATABASE_NAME",
            "BACKUP_DAMAGED",
            "IMPORT_BROKEN_OFF",
            "NOT_EMPTY",
            "WRONG_ROLE",
            "DISK_FULL",
        ],
    },
    post(
        Endpoint::Probe,
        "/api/v1/mirroring/probe",
        "Probe",
        "PeerIdentity",
        "Dials a partner address and says who answers",
    )
    .refuses(&[
        "INVALID_ADDRESS",
        "PARTNER_UNREACHABLE",
        "PARTNER_IS_SELF",
        "INCOMPATIBLE_VERSION",
    ]),
    post(
        Endpoint::CheckJoin,
        "/api/v1/mirroring/check-join",
        "CheckJoin",
        "Done",
        "Whether this server could become a mirror; changes nothing",
    )
    .refuses(&["WRONG_ROLE", "ROLE_TAKEN", "NOT_EMPTY", "DISK_FULL"]),
    post(Endpoint::Join, JOIN, "Join", "Done", "Makes this server a mirror of a principal")
        .refuses(&["INVALID_ADDRESS", "WRONG_ROLE", "ROLE_TAKEN", "NOT_EMPTY", "DISK_FULL"]),
    delete(Endpoint::CancelJoin, JOIN, "Takes back a join that the principal never confirmed")
        .refuses(&["TOO_LATE"]),
    post(
        Endpoint::AddPartner,
        "/api/v1/mirroring/partners",
        "Partner",
        "Done",
        "Makes this server the principal of a mirror that has joined",
    )
    .refuses(&[
        "INVALID_ADDRESS",
        "INVALID_SAFETY",
        "WRONG_ROLE",
        "ROLE_TAKEN",
        "SESSION_MISMATCH",
    ]),
    post(
        Endpoint::Failover,
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
    get(
        Endpoint::AssessPromotion,
        PROMOTION,
        "Outcome",
        "What a promotion would mean now, and what it may lose",
    )
    .refuses(&["WRONG_ROLE", "WRONG_STATE"]),
    post(
        Endpoint::Promote,
        PROMOTION,
        "Promote",
        "Outcome",
        "Makes this disconnected mirror the principal; may lose what never reached it",
    )
    .refuses(&[
        "WRONG_ROLE",
        "WRONG_STATE",
        "NOT_CONSISTENT",
        "DATABASE_DIFFERS",
        "REPLAY_STOPPED",
        "DEPOSED",
        "ROLLED_BACK",
        "HANDOVER_IN_DOUBT",
        "BUSY",
    ]),
    post(
        Endpoint::Suspend,
        "/api/v1/mirroring/suspend",
        "WhichPartner",
        "Done",
        "Suspends a mirror, or all",
    )
    .refuses(&["WRONG_ROLE", "WRONG_STATE", "UNKNOWN_PARTNER"]),
    post(
        Endpoint::Resume,
        "/api/v1/mirroring/resume",
        "WhichPartner",
        "Done",
        "Resumes a suspended mirror, or all",
    )
    .refuses(&["WRONG_ROLE", "WRONG_STATE", "UNKNOWN_PARTNER"]),
    post(
        Endpoint::Rejoin,
        "/api/v1/mirroring/rejoin",
        "Nothing",
        "Done",
        "Has a deposed principal that parks keep its orphans and join the new principal",
    )
    .refuses(&["WRONG_STATE"]),
    delete(
        Endpoint::StopMirroring,
        "/api/v1/mirroring",
        "Ends mirroring; both servers are standalone afterwards",
    )
    .refuses(&["INVALID_QUERY", "WRONG_ROLE", "UNKNOWN_PARTNER", "PARTNER_NOT_NAMED"]),
    get(Endpoint::Scrub, SCRUB, "Scrub", "The scrub under way, and what the last one found"),
    post(
        Endpoint::StartScrub,
        SCRUB,
        "Nothing",
        "Scrub",
        "Reads every page and record back from the disk now, at full speed",
    ),
    get(Endpoint::Checksums, "/api/v1/checksums", "Checksums", "Each database's checksum"),
    post(
        Endpoint::CompareChecksums,
        "/api/v1/checksums/compare",
        "Checksums",
        "Comparisons",
        "Compares another server's checksums with what is here",
    ),
    get(
        Endpoint::ListOrphans,
        ORPHANS,
        "OrphanSets",
        "Events that only this server had when it was deposed",
    ),
    get(Endpoint::ShowOrphans, ORPHAN_SET, "OrphanSet", "One set of orphans")
        .refuses(&["ORPHANS_NOT_FOUND"]),
    get(Endpoint::OrphanRows, ORPHAN_ROWS, "OrphanRows", "The rows that differ, up to `limit`")
        .refuses(&["INVALID_QUERY", "ORPHANS_NOT_FOUND", "DATABASE_NOT_FOUND", "NOT_COMPARED"]),
    Route {
        endpoint: Endpoint::ExportOrphans,
        method: Method::Get,
        path: ORPHAN_CONTENT,
        summary: "A database of a set: `form` is sqlite, sql or rows",
        request: Content::Nothing,
        success: (200, Content::File),
        refusals: &[
            "INVALID_QUERY",
            "ORPHANS_NOT_FOUND",
            "DATABASE_NOT_FOUND",
            "NOT_COMPARED",
            "NOT_COPIED",
        ],
    },
    delete(Endpoint::DropOrphans, ORPHAN_SET, "Deletes a set of orphans for good")
        .refuses(&["ORPHANS_NOT_FOUND"]),
    get(Endpoint::WhoAmI, "/api/v1/whoami", "Identity", "Who asks, and what that one may do"),
    get(Endpoint::ListTokens, TOKENS, "Tokens", "All tokens, without what would let anybody in"),
    post(
        Endpoint::CreateToken,
        TOKENS,
        "NewToken",
        "CreatedToken",
        "Makes a token; it is in this answer, and nowhere else",
    )
    .gives(201)
    .refuses(&["TOKEN_INVALID", "TOKEN_EXISTS", "READ_ONLY_MIRROR", "DISK_FULL"]),
    delete(Endpoint::RevokeToken, TOKEN, "Revokes a token at once")
        .refuses(&["TOKEN_NOT_FOUND", "READ_ONLY_MIRROR"]),
    get(Endpoint::ListUsers, USERS, "Users", "All users, without what would let anybody in"),
    post(
        Endpoint::CreateUser,
        USERS,
        "NewUser",
        "Done",
        "Makes a user, who logs in with a password",
    )
    .gives(201)
    .refuses(&["USER_INVALID", "USER_EXISTS", "READ_ONLY_MIRROR", "DISK_FULL"]),
    post(
        Endpoint::SetPassword,
        "/api/v1/users/{user}/password",
        "NewPassword",
        "Done",
        "Gives a user another password; all its logins end at once",
    )
    .refuses(&["USER_INVALID", "USER_NOT_FOUND", "READ_ONLY_MIRROR", "DISK_FULL"]),
    delete(Endpoint::DropUser, "/api/v1/users/{user}", "Drops a user; all its logins end at once")
        .refuses(&["USER_NOT_FOUND", "READ_ONLY_MIRROR"]),
    post(
        Endpoint::Login,
        "/api/v1/login",
        "Login",
        "LoggedIn",
        "A token for a user's name and password; good for 12 hours unless asked for otherwise",
    )
    .refuses(&["LOGIN_REFUSED", "LOGIN_INVALID", "TOO_MANY_ATTEMPTS", "NOBODY_IS_ASKED"]),
    get(
        Endpoint::Audit,
        "/api/v1/audit",
        "AuditLog",
        "Who did what, or was not let in; the newest first, `limit` of them, or those before an id",
    )
    .refuses(&["INVALID_QUERY"]),
    get(Endpoint::Health, "/health", "Health", "200 while the server is alive"),
    get(Endpoint::HealthPrincipal, "/health/principal", "Health", "200 where writes are taken")
        .refuses(&["HEALTH_NOT_PRINCIPAL", "HEALTH_WRITES_REFUSED"]),
    get(Endpoint::HealthMirror, "/health/mirror", "Health", "200 on a mirror that serves reads")
        .refuses(&["HEALTH_NOT_MIRROR", "HEALTH_READS_REFUSED"]),
    get(Endpoint::OpenApi, "/api/v1/openapi.json", "OpenApi", "This document"),
];

const DATABASES: &str = "/api/v1/databases";
const DATABASE: &str = "/api/v1/databases/{name}";
const CONTENT: &str = "/api/v1/databases/{name}/content";
const JOIN: &str = "/api/v1/mirroring/join";
const ORPHANS: &str = "/api/v1/orphans";
const ORPHAN_SET: &str = "/api/v1/orphans/{set}";
const ORPHAN_ROWS: &str = "/api/v1/orphans/{set}/rows";
const ORPHAN_CONTENT: &str = "/api/v1/orphans/{set}/content";
const SCRUB: &str = "/api/v1/scrub";
const PROMOTION: &str = "/api/v1/mirroring/promotion";
const USERS: &str = "/api/v1/users";
const TOKENS: &str = "/api/v1/tokens";
const TOKEN: &str = "/api/v1/tokens/{token}";

/// Who may ask for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody, known or not.
    Nothing,
    /// Whoever is known.
    SignedIn,
    /// Whoever may read the database that the path names.
    Reading,
    /// Operators and admins.
    Operate,
    /// Admins.
    Administer,
}

impl Endpoint {
    /// Who may ask for it.
    pub fn needs(self) -> Needs {
        match self {
            Endpoint::Login
            | Endpoint::Health
            | Endpoint::HealthPrincipal
            | Endpoint::HealthMirror => Needs::Nothing,
            Endpoint::Status
            | Endpoint::Metrics
            | Endpoint::ListAlarms
            | Endpoint::WhoAmI
            | Endpoint::OpenApi => Needs::SignedIn,
            Endpoint::DescribeDatabase | Endpoint::ExportDatabase => Needs::Reading,
            Endpoint::AcknowledgeAlarm
            | Endpoint::TestAlarms
            | Endpoint::ListDatabases
            | Endpoint::Backup
            | Endpoint::TakeBackup
            | Endpoint::Probe
            | Endpoint::CheckJoin
            | Endpoint::Join
            | Endpoint::CancelJoin
            | Endpoint::AddPartner
            | Endpoint::Failover
            | Endpoint::AssessPromotion
            | Endpoint::Promote
            | Endpoint::Suspend
            | Endpoint::Resume
            | Endpoint::StopMirroring
            | Endpoint::Rejoin
            | Endpoint::Scrub
            | Endpoint::StartScrub
            | Endpoint::Checksums
            | Endpoint::CompareChecksums
            | Endpoint::ListOrphans
            | Endpoint::ShowOrphans
            | Endpoint::OrphanRows
            | Endpoint::ExportOrphans
            | Endpoint::DropOrphans => Needs::Operate,
            Endpoint::CreateDatabase
            | Endpoint::DropDatabase
            | Endpoint::ImportDatabase
            | Endpoint::ListTokens
            | Endpoint::CreateToken
            | Endpoint::RevokeToken
            | Endpoint::ListUsers
            | Endpoint::CreateUser
            | Endpoint::SetPassword
            | Endpoint::DropUser
            | Endpoint::Audit => Needs::Administer,
        }
    }

    /// All routes. An endpoint that has none is never constructed, which the compiler reports; one that has two
    /// would make the router panic in every test.
    pub const ROUTES: &[Route] = &TABLE;

    /// This endpoint's route.
    pub fn route(self) -> &'static Route {
        TABLE.iter().find(|route| route.endpoint == self).expect("every endpoint has a route")
    }
}

impl Route {
    const fn refuses(mut self, codes: &'static [&'static str]) -> Route {
        self.refusals = codes;
        self
    }

    const fn gives(mut self, status: u16) -> Route {
        self.success.0 = status;
        self
    }
}

const fn get(
    endpoint: Endpoint,
    path: &'static str,
    gives: &'static str,
    summary: &'static str,
) -> Route {
    Route {
        endpoint,
        method: Method::Get,
        path,
        summary,
        request: Content::Nothing,
        success: (200, Content::Json(gives)),
        refusals: &[],
    }
}

const fn post(
    endpoint: Endpoint,
    path: &'static str,
    takes: &'static str,
    gives: &'static str,
    summary: &'static str,
) -> Route {
    let mut route = get(endpoint, path, gives, summary);
    route.method = Method::Post;
    route.request = Content::Json(takes);
    route
}

const fn delete(endpoint: Endpoint, path: &'static str, summary: &'static str) -> Route {
    let mut route = get(endpoint, path, "Done", summary);
    route.method = Method::Delete;
    route
}
