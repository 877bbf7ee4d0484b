//! What can be done about mirroring, whether it is possible now, and why not. The one place of the console that decides that,
//! and it only repeats: the status says what the core would refuse, the role what the server would.

use counterpart_access::{Identity, Need};
use counterpart_node::Refusal;
use serde_json::Value;

use crate::view::{self, text};

/// A step that an operator may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    FailOver,
    Promote,
    Suspend,
    Resume,
    Rejoin,
    Stop,
}

/// Whether it is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would be accepted.
    Possible,
    /// It is refused, unless the operator says that they know better.
    ByForce(Refusal),
    /// It would be refused.
    Not(Refusal),
}

impl Action {
    /// All, in the order of a page.
    pub const ALL: [Action; 6] = [
        Action::FailOver,
        Action::Promote,
        Action::Suspend,
        Action::Resume,
        Action::Rejoin,
        Action::Stop,
    ];

    /// Its part of a path.
    pub fn slug(self) -> &'static str {
        match self {
            Action::FailOver => "failover",
            Action::Promote => "promote",
            Action::Suspend => "suspend",
            Action::Resume => "resume",
            Action::Rejoin => "rejoin",
            Action::Stop => "stop",
        }
    }

    /// The action of a part of a path.
    pub fn of_slug(slug: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.slug() == slug)
    }

    /// What its button says.
    pub fn label(self) -> &'static str {
        match self {
            Action::FailOver => "Fail over",
            Action::Promote => "Promote",
            Action::Suspend => "Suspend",
            Action::Resume => "Resume",
            Action::Rejoin => "Rejoin",
            Action::Stop => "End mirroring",
        }
    }

    /// What it is for.
    pub fn purpose(self) -> &'static str {
        match self {
            Action::FailOver => "The principal and the mirror swap roles. Nothing is lost.",
            Action::Promote => "A mirror becomes the principal, because the principal is gone.",
            Action::Suspend => "The mirror gets nothing until it is resumed.",
            Action::Resume => "The mirror catches up, and is synchronized again.",
            Action::Rejoin => {
                "This deposed principal keeps its orphans and joins the new principal."
            }
            Action::Stop => "Both servers become standalone.",
        }
    }

    /// What was done, once it is.
    pub fn done(self) -> &'static str {
        match self {
            Action::FailOver => "The roles are swapped; nothing was lost.",
            Action::Promote => "This server is now the principal.",
            Action::Suspend => "Mirroring is suspended.",
            Action::Resume => "Mirroring is resumed.",
            Action::Rejoin => "This server keeps its orphans and joins the principal.",
            Action::Stop => "Mirroring has ended.",
        }
    }

    /// The command of the command line, by which the status knows it.
    fn command(self) -> &'static str {
        match self {
            Action::FailOver => "failover",
            Action::Promote => "promote",
            Action::Suspend => "suspend",
            Action::Resume => "resume",
            Action::Rejoin => "mirror rejoin",
            Action::Stop => "mirror stop",
        }
    }

    /// Whether it is done to one mirror where there are several.
    pub fn is_for_a_partner(self) -> bool {
        !matches!(self, Action::Promote | Action::Rejoin)
    }

    /// Whether it makes sense to show it for a server of this role at all.
    pub fn belongs_to(self, role: &str) -> bool {
        match (role, self) {
            ("principal", Action::Promote) => true,
            ("principal", Action::Rejoin) => false,
            ("principal", _) | ("mirror", _) => true,
            _ => false,
        }
    }
}

/// What an operator may insist on, although the server advises against it.
const FORCED: [&str; 5] =
    ["DATABASE_DIFFERS", "REPLAY_STOPPED", "DEPOSED", "ROLLED_BACK", "HANDOVER_IN_DOUBT"];

/// Whether `identity` may do it now, on the partner that is named, if one has to be.
pub fn verdict(
    action: Action,
    status: &Value,
    partner: Option<&str>,
    identity: &Identity,
) -> Verdict {
    if !identity.grant.allows(Need::Operate) {
        return Verdict::Not(Refusal::forbidden(identity, "steer mirroring"));
    }
    match permission(action, status, partner) {
        None => Verdict::Not(Refusal::new(
            "WRONG_STATE",
            "the server does not say whether this is possible now",
            "look at the status again in a moment",
        )),
        Some(permission) if permission["allowed"] == true => Verdict::Possible,
        Some(permission) => {
            let part = |name| text(&permission["reason"], name).unwrap_or_default();
            let code = part("/code");
            let refusal = Refusal::new(code, part("/what"), part("/remedy"));
            if action == Action::Promote && FORCED.contains(&code) {
                Verdict::ByForce(refusal)
            } else {
                Verdict::Not(refusal)
            }
        }
    }
}

fn permission<'a>(action: Action, status: &'a Value, partner: Option<&str>) -> Option<&'a Value> {
    let of = |all: &'a Value| all.as_array()?.iter().find(|one| one["command"] == action.command());
    let own = partner.and_then(|id| of(&view::partner(status, id)?["commands"]));
    own.or_else(|| of(&status["mirroring"]["commands"]))
}

#[cfg(test)]
mod tests {
    use counterpart_access::{Grant, Role};
    use serde_json::json;

    use super::*;

    fn somebody(role: Role) -> Identity {
        Identity {
            name: "ann".to_owned(),
            by: counterpart_access::Credential::Token,
            grant: Grant::new::<&str>(role, None).unwrap(),
        }
    }

    fn refused(command: &str, code: &str) -> Value {
        let reason = json!({ "code": code, "what": "It is not.", "remedy": "Wait." });
        json!({ "command": command, "allowed": false, "reason": reason })
    }

    fn status(promote: Value) -> Value {
        let yes = |command: &str| json!({ "command": command, "allowed": true, "reason": null });
        json!({ "mirroring": {
            "commands": [yes("failover"), promote, refused("suspend", "PARTNER_NOT_NAMED"), refused("resume", "WRONG_STATE")],
            "partners": [{ "server": "bb", "commands": [refused("failover", "WRONG_STATE"), yes("suspend")] }],
        }})
    }

    #[test]
    fn an_action_is_possible_exactly_where_the_status_and_the_role_allow_it() {
        let wrong = || status(refused("promote", "WRONG_ROLE"));
        for (action, partner, role, possible) in [
            (Action::FailOver, None, Role::Admin, true),
            (Action::FailOver, None, Role::Operator, true),
            (Action::FailOver, None, Role::Writer, false),
            (Action::FailOver, None, Role::Reader, false),
            // What is said of the pair goes before what is said of the server.
            (Action::FailOver, Some("bb"), Role::Admin, false),
            (Action::Suspend, Some("bb"), Role::Admin, true),
            (Action::Suspend, None, Role::Admin, false),
            (Action::Resume, Some("bb"), Role::Admin, false),
            (Action::Promote, None, Role::Admin, false),
            // The status says nothing of these, nor of that partner.
            (Action::Stop, None, Role::Admin, false),
            (Action::Rejoin, Some("bb"), Role::Admin, false),
            (Action::FailOver, Some("cc"), Role::Admin, true),
        ] {
            let verdict = verdict(action, &wrong(), partner, &somebody(role));
            assert_eq!(verdict == Verdict::Possible, possible, "{action:?} {partner:?} {role}");
            if let Verdict::Not(why) | Verdict::ByForce(why) = verdict {
                assert!(!why.what().is_empty() && !why.remedy().is_empty(), "{action:?}");
                assert_eq!(
                    why.code() == "FORBIDDEN",
                    !matches!(role, Role::Admin | Role::Operator)
                );
            }
        }
    }

    #[test]
    fn only_a_promotion_is_forced_and_only_against_advice() {
        let admin = somebody(Role::Admin);
        for (code, forced) in [("DEPOSED", true), ("ROLLED_BACK", true), ("WRONG_STATE", false)] {
            let verdict = verdict(Action::Promote, &status(refused("promote", code)), None, &admin);
            assert_eq!(matches!(verdict, Verdict::ByForce(_)), forced, "{code}");
        }
        let mut failover = status(refused("promote", "DEPOSED"));
        failover["mirroring"]["commands"][0] = refused("failover", "HANDOVER_IN_DOUBT");
        let verdict = verdict(Action::FailOver, &failover, None, &admin);
        assert!(matches!(verdict, Verdict::Not(_)));
    }

    #[test]
    fn paths_lead_to_actions_and_nothing_else_does() {
        for action in Action::ALL {
            assert_eq!(Action::of_slug(action.slug()), Some(action));
        }
        assert_eq!(Action::of_slug("Failover"), None);
    }
}
