//! What every page has around it: head, navigation, who is there; and the pages that say no.

use axum::response::{Html, IntoResponse, Response};
use counterpart_node::Refusal;
use maud::{DOCTYPE, Markup, html};

use super::{form::CSRF, guard::Visitor, page::Page};
use crate::problem::status_of;

/// A page of the navigation, or below one.
pub fn page(visitor: &Visitor, page: Page, title: &str, content: &Markup) -> Html<String> {
    document(
        title,
        &html! {
            a.skip href="#content" { "To the content" }
            header.bar {
                a.brand href="/" { (mark()) span { "Counterpart " span.product { "Server Manager" } } }
                nav aria-label="Pages" {
                    ul {
                        @for one in Page::ALL { li { (entry(visitor, one, one == page)) } }
                    }
                }
                (who(visitor))
            }
            main #content tabindex="-1" { (content) }
        },
    )
}

fn entry(visitor: &Visitor, page: Page, is_current: bool) -> Markup {
    match visitor.may(page.need(), "see this page") {
        Ok(()) => html! {
            a href=(page.path()) aria-current=[is_current.then_some("page")] { (page.title()) }
        },
        Err(why) => html! {
            span.off title=(why.what()) { (page.title()) span.unseen { " (" (why.what()) ")" } }
        },
    }
}

fn who(visitor: &Visitor) -> Markup {
    html! {
        div.who {
            @if visitor.signed_in {
                span { (visitor.identity.name) " · " (visitor.identity.grant.role()) }
                form method="post" action="/console/sign-out" {
                    (csrf(visitor))
                    button.quiet type="submit" { "Sign out" }
                }
            } @else {
                span title="This server asks nobody for a token" { "no sign-in" }
            }
        }
    }
}

/// The field that every form of a visitor carries.
pub fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(CSRF) value=(visitor.csrf); }
}

/// Two overlapping squares: one is a copy of the other.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" focusable="false" {
            rect.copy x="8.5" y="8.5" width="13" height="13" rx="3" {}
            rect.own x="2.5" y="2.5" width="13" height="13" rx="3" {}
        }
    }
}

/// A page for whoever is not in: nothing of the server is in it but what `content` says.
pub fn outside(title: &str, content: &Markup) -> Html<String> {
    document(
        title,
        &html! {
            main.outside #content { p.brand { (mark()) span { "Counterpart " span.product { "Server Manager" } } } (content) }
        },
    )
}

fn document(title: &str, body: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Counterpart" }
                link rel="icon" href="/console/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console/console.css";
                script src="/console/console.js" defer {}
            }
            body { (body) }
        }
    };
    Html(page.into_string())
}

/// A refusal as a page, with its status.
pub fn refused(visitor: &Visitor, at: Page, refusal: &Refusal) -> Response {
    let content = html! {
        h1 { "Refused" }
        (told(refusal))
        p { a.button href=(at.path()) { "Back to " (at.title()) } }
    };
    (status_of(refusal.code()), page(visitor, at, "Refused", &content)).into_response()
}

/// The same for somebody whom the server does not know yet.
pub fn refused_outside(refusal: &Refusal) -> Response {
    let content = html! {
        h1 { "Refused" }
        (told(refusal))
        p { a.button href="/" { "Try again" } }
    };
    (status_of(refusal.code()), outside("Refused", &content)).into_response()
}

/// A refusal in words.
pub fn told(refusal: &Refusal) -> Markup {
    html! {
        div.notice.bad role="alert" {
            p { b { "Why: " } (commands(&sentence(refusal.what()))) }
            @if !refusal.remedy().is_empty() {
                p { b { "What to do: " } (commands(&sentence(refusal.remedy()))) }
            }
            p.code { code { (refusal.code()) } }
        }
    }
}

/// With a full stop, which refusals from some places lack. The beginning stays as it is: it may be somebody's name.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let ended = text.is_empty() || text.ends_with(['.', '!', '?', ':']);
    format!("{text}{}", if ended { "" } else { "." })
}

/// What stands between backticks as code.
pub fn commands(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use counterpart_access::{Grant, Identity, Role};
    use proptest::prelude::*;

    use super::*;

    fn visitor(name: &str, role: Role) -> Visitor {
        let grant = Grant::new::<&str>(role, None).unwrap();
        let identity =
            Identity { name: name.to_owned(), by: counterpart_access::Credential::Token, grant };
        Visitor { identity: identity.into(), csrf: "c".into(), signed_in: true }
    }

    #[test]
    fn what_a_role_may_not_see_is_named_without_a_link_and_with_the_reason() {
        let Html(text) = page(&visitor("ann", Role::Reader), Page::Overview, "t", &html! {});
        assert!(text.contains("<a href=\"/console/mirroring\">"), "{text}");
        assert!(text.contains("<a href=\"/\" aria-current=\"page\">"), "{text}");
        assert!(!text.contains("href=\"/console/tokens\""), "{text}");
        assert!(text.contains("ann is reader here, and may not see this page"), "{text}");
        let Html(text) = page(&visitor("ann", Role::Admin), Page::Tokens, "t", &html! {});
        assert!(!text.contains("may not"), "{text}");
    }

    #[test]
    fn sentences_end_as_sentences() {
        assert_eq!(sentence("main is full "), "main is full.");
        assert_eq!(sentence("Done."), "Done.");
        assert_eq!(sentence(""), "");
        assert_eq!(commands("run `a b`, then").into_string(), "run <code>a b</code>, then");
    }

    proptest! {
        #[test]
        fn nothing_that_somebody_named_reaches_a_page_unescaped(name in ".{0,20}", what in ".{0,40}") {
            let name = format!("<b>{name}\"'<script>");
            let what = format!("`<i onx='{what}`<script>");
            let refusal = Refusal::new("CODE", what.clone(), what);
            let response = told(&refusal).into_string();
            let Html(text) = page(&visitor(&name, Role::Reader), Page::Overview, &name, &html! {});
            for text in [text, response] {
                prop_assert!(!text.contains("<b>\"") && !text.contains("<i "));
                prop_assert!(!text.contains("<script>"), "{}", text);
            }
        }
    }
}
