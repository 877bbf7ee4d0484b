//! What the audit log tells of the console: each thing that can be done here is an operation of the operator API, and is
//! noted as that.

use axum::http::Method;

use super::action::Action;
use crate::endpoint::Endpoint;

/// The operation that a request stands for, if it is one that is noted. `path` is the route's; `action` what it names there.
pub fn endpoint(method: &Method, path: &str, action: Option<&str>) -> Option<Endpoint> {
    let reads = method == Method::GET || method == Method::HEAD;
    Some(match path {
        "/console/backups/content" if reads => Endpoint::Backup,
        "/console/databases/{name}/content" if reads => Endpoint::ExportDatabase,
        "/console/orphans/{set}/content" if reads => Endpoint::ExportOrphans,
        _ if reads => return None,
        "/console/databases" => Endpoint::CreateDatabase,
        "/console/databases/{name}/content" => Endpoint::ImportDatabase,
        "/console/databases/{name}/drop" => Endpoint::DropDatabase,
        "/console/orphans/{set}/drop" => Endpoint::DropOrphans,
        "/console/tokens" => Endpoint::CreateToken,
        "/console/tokens/{name}/revoke" => Endpoint::RevokeToken,
        "/console/mirroring/{action}" => match Action::of_slug(action?)? {
            Action::FailOver => Endpoint::Failover,
            Action::Promote => Endpoint::Promote,
            Action::Suspend => Endpoint::Suspend,
            Action::Resume => Endpoint::Resume,
            Action::Rejoin => Endpoint::Rejoin,
            Action::Stop => Endpoint::StopMirroring,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use counterpart_node::Node;

    use super::*;

    /// Routes whose pages alone are asked for, and where somebody signs out.
    const PAGES: [&str; 5] = [
        "/console/live/{part}",
        "/console/mirroring",
        "/console/backups",
        "/console/orphans",
        "/console/orphans/{set}",
    ];

    #[test]
    fn whatever_can_be_done_is_noted() {
        for (_, path, _) in super::super::routes::<Node>() {
            let action = path.ends_with("{action}").then_some("promote");
            let done = [Method::GET, Method::POST, Method::PUT].map(|m| endpoint(&m, path, action));
            let noted: Vec<_> = done.into_iter().flatten().collect();
            assert!(noted.iter().all(|endpoint| endpoint.is_noted()), "{path}");
            // What is asked with a POST is asked with a PUT, too, or is not there.
            assert_eq!(noted.is_empty(), PAGES.contains(&path), "{path}: {noted:?}");
        }
    }
}
