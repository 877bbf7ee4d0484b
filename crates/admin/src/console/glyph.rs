//! A sign for each state, told apart by its shape alone: colour is for those who see it. Drawn on 24 × 24; the words stand
//! beside it, so it says nothing to a screen reader.

use maud::{Markup, html};

/// The sign of a pair's state, or of a server without one.
pub fn of_state(state: &str) -> Markup {
    // In a circle all is as it should be or gets there; a square waits for somebody; a triangle calls for somebody.
    let (outline, inside) = match state {
        "SYNCHRONIZED" => (CIRCLE, "M7.5 12.5l3 3 6-7"),
        "SYNCHRONIZING" => (CIRCLE, "M12 16.5v-9M8.5 11L12 7.5l3.5 3.5"),
        "PENDING_FAILOVER" => (CIRCLE, "M7 10h9l-2.5-2.5M17 14H8l2.5 2.5"),
        "SUSPENDED" => (SQUARE, "M9.5 8.5v7M14.5 8.5v7"),
        "DISCONNECTED" => (TRIANGLE, "M12 9.5v5M12 17.4v.2"),
        "STANDALONE" => (SQUARE, "M8.5 12h7"),
        _ => (SQUARE, "M10 9.7a2 2 0 1 1 2.6 2c-.5.2-.6.6-.6 1.4M12 16v.2"),
    };
    html! {
        svg.glyph viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false" {
            path.outline d=(outline) {}
            path.inside d=(inside) {}
        }
    }
}

const CIRCLE: &str = "M12 2.5a9.5 9.5 0 1 0 0 19a9.5 9.5 0 1 0 0-19z";
const SQUARE: &str = "M5.5 3h13A2.5 2.5 0 0 1 21 5.5v13a2.5 2.5 0 0 1-2.5 2.5h-13A2.5 2.5 0 0 1 3 18.5v-13A2.5 2.5 0 0 1 5.5 3z";
const TRIANGLE: &str = "M12 2.8a1.6 1.6 0 0 1 1.4.8l8.6 15.2a1.6 1.6 0 0 1-1.4 2.4H3.4A1.6 1.6 0 0 1 2 18.8L10.6 3.6a1.6 1.6 0 0 1 1.4-.8z";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_states_look_alike() {
        let states = [
            "SYNCHRONIZED",
            "SYNCHRONIZING",
            "PENDING_FAILOVER",
            "SUSPENDED",
            "DISCONNECTED",
            "STANDALONE",
            "what is this",
        ];
        let signs: HashSet<String> =
            states.iter().map(|state| of_state(state).into_string()).collect();
        assert_eq!(signs.len(), states.len());
    }
}
