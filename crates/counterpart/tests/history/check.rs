//! The judgement of a whole history: strict serializability of what the principal answered, prefix consistency of what
//! mirrors answered.
//!
//! It must judge from the answers alone. Its own proof is in `tests`: histories that are known to be good or bad.

use super::{
    graph::Graph,
    lists::{Anomaly, Lists},
    model::Transaction,
};

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Transactions that took effect.
    pub happened: usize,
    /// Dependencies between them that were followed.
    pub edges: usize,
}

/// Judges a history; all anomalies, at most one for each knot of the graph.
pub fn check(history: &[Transaction]) -> Result<Judged, Vec<Anomaly>> {
    let lists = Lists::new(history);
    let mut found = lists.anomalies();
    let graph = Graph::new(&lists);
    found.extend(graph.anomalies());
    if found.is_empty() {
        let happened = (0..history.len()).filter(|i| lists.happened(*i)).count();
        Ok(Judged { happened, edges: graph.edges() })
    } else {
        Err(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Promise, Step,
        Step::{Append, Read},
        Told,
    };

    fn strict(begin: u64, end: u64, steps: &[Step]) -> Transaction {
        let steps = steps.to_vec();
        Transaction {
            client: 0,
            promise: Promise::Strict,
            steps,
            told: Told::Committed,
            begin,
            end,
        }
    }

    fn told(told: Told, transaction: Transaction) -> Transaction {
        Transaction { told, ..transaction }
    }

    fn mirror(sitting: u32, begin: u64, end: u64, steps: &[Step]) -> Transaction {
        Transaction { promise: Promise::Prefix { sitting }, ..strict(begin, end, steps) }
    }

    fn kinds(history: &[Transaction]) -> Vec<&'static str> {
        check(history).err().into_iter().flatten().map(|anomaly| anomaly.kind).collect()
    }

    #[test]
    fn a_serial_history_is_good() {
        let history = [
            strict(0, 1, &[Append(1, 10), Append(2, 20)]),
            strict(2, 3, &[Read(1, vec![10]), Append(1, 11), Read(1, vec![10, 11])]),
            strict(4, 5, &[Read(1, vec![10, 11]), Read(2, vec![20])]),
        ];
        assert_eq!(check(&history).map(|judged| judged.happened), Ok(3));
    }

    #[test]
    fn overlapping_transactions_may_take_either_order() {
        let history = [
            strict(0, 10, &[Append(1, 10)]),
            strict(0, 10, &[Read(1, vec![])]),
            strict(0, 10, &[Read(1, vec![10])]),
        ];
        assert_eq!(kinds(&history), [""; 0]);
    }

    #[test]
    fn write_skew_is_found() {
        let history = [
            strict(0, 9, &[Read(1, vec![]), Append(2, 20)]),
            strict(0, 9, &[Read(2, vec![]), Append(1, 10)]),
            strict(0, 9, &[Read(1, vec![10]), Read(2, vec![20])]),
        ];
        assert_eq!(kinds(&history), ["G2"]);
    }

    #[test]
    fn a_lost_update_is_found() {
        let history = [
            strict(0, 9, &[Read(1, vec![]), Append(1, 10)]),
            strict(0, 9, &[Read(1, vec![]), Append(1, 11)]),
            strict(0, 9, &[Read(1, vec![10, 11])]),
        ];
        assert_eq!(kinds(&history), ["G-single"]);
    }

    #[test]
    fn writes_in_two_orders_are_found() {
        let history = [
            strict(0, 9, &[Append(1, 10), Append(2, 20)]),
            strict(0, 9, &[Append(1, 11), Append(2, 21)]),
            strict(0, 9, &[Read(1, vec![10, 11]), Read(2, vec![21, 20])]),
        ];
        assert!(kinds(&history).contains(&"G0"), "{:?}", check(&history));
    }

    #[test]
    fn information_that_flows_in_a_circle_is_found() {
        let history = [
            strict(0, 9, &[Append(1, 10), Read(2, vec![20])]),
            strict(0, 9, &[Append(2, 20), Read(1, vec![10])]),
        ];
        assert_eq!(kinds(&history), ["G1c"]);
    }

    #[test]
    fn a_stale_read_is_found_as_soon_as_time_forbids_it() {
        let read = |begin| strict(begin, 9, &[Read(1, vec![])]);
        let shown = strict(0, 9, &[Read(1, vec![10])]);
        let append = strict(0, 3, &[Append(1, 10)]);
        assert_eq!(kinds(&[append.clone(), read(3), shown.clone()]), [""; 0]);
        assert_eq!(kinds(&[append, read(4), shown]), ["lost", "stale"]);
    }

    #[test]
    fn two_appends_against_the_clock_are_found() {
        let history = [
            strict(0, 1, &[Append(1, 10)]),
            strict(2, 3, &[Append(1, 11)]),
            strict(0, 9, &[Read(1, vec![11, 10])]),
        ];
        assert_eq!(kinds(&history), ["G1-realtime"]);
    }

    #[test]
    fn dirty_reads_of_refused_and_of_unfinished_transactions_are_found() {
        let refused = told(Told::Refused, strict(0, 9, &[Append(1, 10)]));
        assert_eq!(kinds(&[refused, strict(0, 9, &[Read(1, vec![10])])]), ["G1a"]);
        let halves = strict(0, 9, &[Append(1, 10), Append(1, 11)]);
        let found = kinds(&[
            halves,
            strict(0, 5, &[Read(1, vec![10])]),
            strict(8, 9, &[Read(1, vec![10, 11])]),
        ]);
        assert!(found.contains(&"G1b"), "{found:?}");
    }

    #[test]
    fn a_confirmed_append_that_is_gone_is_found() {
        let history = [strict(0, 1, &[Append(1, 10)]), strict(2, 3, &[Read(1, vec![])])];
        assert_eq!(kinds(&history), ["lost"]);
    }

    #[test]
    fn an_unknown_transaction_may_be_there_or_not_but_not_by_half() {
        let unknown = told(Told::Unknown, strict(0, 1, &[Append(1, 10), Append(2, 20)]));
        let read = |a: &[u64], b: &[u64]| strict(5, 6, &[Read(1, a.to_vec()), Read(2, b.to_vec())]);
        let later =
            |a: &[u64], b: &[u64]| strict(7, 8, &[Read(1, a.to_vec()), Read(2, b.to_vec())]);
        assert_eq!(kinds(&[unknown.clone(), read(&[], &[])]), [""; 0]);
        assert_eq!(kinds(&[unknown.clone(), read(&[10], &[20])]), [""; 0]);
        assert_eq!(kinds(&[unknown.clone(), read(&[], &[]), later(&[10], &[20])]), [""; 0]);
        assert_eq!(kinds(&[unknown, read(&[10], &[]), later(&[10], &[])]), ["lost"]);
    }

    #[test]
    fn duplicates_garbage_and_two_orders_of_one_list_are_found() {
        let (ten, eleven) = (strict(0, 9, &[Append(1, 10)]), strict(0, 9, &[Append(1, 11)]));
        let read = |list: &[u64]| strict(0, 9, &[Read(1, list.to_vec())]);
        assert_eq!(kinds(&[ten.clone(), read(&[10, 10])]), ["duplicate"]);
        assert_eq!(kinds(&[ten.clone(), read(&[10, 99])]), ["garbage"]);
        let found = kinds(&[ten, eleven, read(&[10, 11]), read(&[11])]);
        assert!(found.contains(&"incompatible order"), "{found:?}");
    }

    #[test]
    fn a_transaction_that_does_not_see_its_own_append_is_found() {
        let blind = strict(0, 9, &[Append(1, 10), Read(1, vec![])]);
        assert!(kinds(&[blind, strict(0, 9, &[Read(1, vec![10])])]).contains(&"internal"));
    }

    #[test]
    fn a_mirror_may_be_late_but_neither_mix_states_nor_go_back_nor_be_ahead() {
        let principal = [
            strict(0, 1, &[Append(1, 10)]),
            strict(2, 3, &[Append(2, 20)]),
            strict(20, 21, &[Read(1, vec![10]), Read(2, vec![20])]),
        ];
        let with = |reads: &[Transaction]| kinds(&[&principal[..], reads].concat());
        let read = |at, a: &[u64], b: &[u64]| {
            mirror(0, at, at + 1, &[Read(1, a.to_vec()), Read(2, b.to_vec())])
        };
        assert_eq!(with(&[read(5, &[], &[]), read(7, &[10], &[]), read(9, &[10], &[20])]), [""; 0]);
        assert_eq!(with(&[read(5, &[], &[20])]), ["stale"]);
        assert_eq!(with(&[read(5, &[10], &[20]), read(7, &[10], &[])]), ["went back"]);
        let ahead = mirror(0, 0, 1, &[Read(2, vec![20])]);
        assert_eq!(with(&[ahead]), ["G1-realtime"]);
    }
}
