//! What single lists tell: the order of the appends to each, and the anomalies that need no graph.
//!
//! It must never guess: the order of a list is what somebody read, and who appended an element is what was asked.

use std::collections::{BTreeMap, HashMap};

use super::model::{Element, Key, Promise, Step, Told, Transaction};

/// Something that a correct server cannot have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// The literature's name for it.
    pub kind: &'static str,
    /// The evidence.
    pub story: String,
}

impl Anomaly {
    pub fn new(kind: &'static str, story: String) -> Anomaly {
        Anomaly { kind, story }
    }
}

/// The history by list.
pub struct Lists<'a> {
    pub history: &'a [Transaction],
    /// The longest list that anybody read, by key.
    pub orders: BTreeMap<Key, &'a [Element]>,
    /// Which transaction appends an element, and whether it is its last to that list.
    writers: HashMap<Element, (usize, bool)>,
    /// Where an element stands in the order of its list.
    places: HashMap<Element, usize>,
}

impl<'a> Lists<'a> {
    pub fn new(history: &'a [Transaction]) -> Lists<'a> {
        let mut writers = HashMap::new();
        for (i, transaction) in history.iter().enumerate() {
            let mut last = BTreeMap::new();
            for (key, element) in transaction.appends() {
                let earlier = writers.insert(element, (i, true));
                assert!(earlier.is_none(), "the workload appends {element} once");
                if let Some(before) = last.insert(key, element) {
                    writers.insert(before, (i, false));
                }
            }
        }
        let mut orders: BTreeMap<Key, &[Element]> = BTreeMap::new();
        for (key, list) in committed(history).flat_map(|(_, t)| t.reads()) {
            let longest = orders.entry(key).or_default();
            if list.len() > longest.len() {
                *longest = list;
            }
        }
        let places = orders.values().flat_map(|l| l.iter().enumerate().map(|(i, e)| (*e, i)));
        let places = places.collect();
        Lists { history, orders, writers, places }
    }

    /// Who appended an element.
    pub fn writer(&self, element: Element) -> Option<usize> {
        self.writers.get(&element).map(|(writer, _)| *writer)
    }

    /// Whether a transaction took effect, as far as anybody can know.
    pub fn happened(&self, i: usize) -> bool {
        let transaction = &self.history[i];
        transaction.told == Told::Committed
            || transaction.appends().any(|(_, element)| self.places.contains_key(&element))
    }

    /// What a read saw of others: the list without the reader's own appends at its end.
    pub fn foreign<'b>(&self, reader: usize, list: &'b [Element]) -> &'b [Element] {
        let own = list.iter().rev().take_while(|e| self.writer(**e) == Some(reader)).count();
        &list[..list.len() - own]
    }

    /// All anomalies that show in single lists.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        let mut found = Vec::new();
        for (i, transaction) in committed(self.history) {
            for (key, list) in transaction.reads() {
                self.judge_list(i, key, list, &mut found);
            }
            self.judge_own(i, &mut found);
        }
        self.judge_lost(&mut found);
        found
    }

    /// One list that was read: nothing twice, nothing from nowhere, nothing rolled back, nothing half done, and the
    /// same order as all others saw.
    fn judge_list(&self, reader: usize, key: Key, list: &[Element], found: &mut Vec<Anomaly>) {
        let story =
            |what: String| format!("{what}: list {key} is {list:?} in {}", self.name(reader));
        let mut seen = std::collections::HashSet::new();
        for element in list {
            if !seen.insert(element) {
                found.push(Anomaly::new("duplicate", story(format!("{element} is there twice"))));
            }
            match self.writer(*element) {
                None => {
                    found.push(Anomaly::new("garbage", story(format!("nobody appended {element}"))))
                }
                Some(w) if self.history[w].told == Told::Refused => {
                    found.push(Anomaly::new("G1a", story(format!("{} was refused", self.name(w)))));
                }
                Some(_) => {}
            }
        }
        if let Some((writer, false)) = list.last().and_then(|last| self.writers.get(last))
            && *writer != reader
        {
            found.push(Anomaly::new("G1b", story(format!("half of {}", self.name(*writer)))));
        }
        let order = self.orders.get(&key).copied().unwrap_or_default();
        if !order.starts_with(list) {
            found.push(Anomaly::new("incompatible order", story(format!("others saw {order:?}"))));
        }
    }

    /// A transaction sees its own appends, and of others the same at each read.
    fn judge_own(&self, i: usize, found: &mut Vec<Anomaly>) {
        let mut own: BTreeMap<Key, Vec<Element>> = BTreeMap::new();
        let mut others: BTreeMap<Key, &[Element]> = BTreeMap::new();
        for step in &self.history[i].steps {
            match step {
                Step::Append(key, element) => own.entry(*key).or_default().push(*element),
                Step::Read(key, list) => {
                    let foreign = self.foreign(i, list);
                    let mine = own.get(key).map(Vec::as_slice).unwrap_or_default();
                    let before = *others.entry(*key).or_insert(foreign);
                    if &list[foreign.len()..] != mine || before != foreign {
                        let story = format!("list {key} is {list:?} in {}", self.name(i));
                        found.push(Anomaly::new("internal", story));
                    }
                }
            }
        }
    }

    /// Once told, an append stays: every later read has it.
    fn judge_lost(&self, found: &mut Vec<Anomaly>) {
        let mut readers: BTreeMap<Key, Vec<(usize, &[Element])>> = BTreeMap::new();
        for (i, transaction) in
            committed(self.history).filter(|(_, t)| t.promise == Promise::Strict)
        {
            for (key, list) in transaction.reads() {
                readers.entry(key).or_default().push((i, list));
            }
        }
        for (i, transaction) in self.history.iter().enumerate().filter(|(i, _)| self.happened(*i)) {
            let Some(known) = self.known_since(i) else { continue };
            for (key, element) in transaction.appends() {
                let later = readers.get(&key).into_iter().flatten();
                let mut later = later.filter(|(r, _)| self.history[*r].begin > known);
                if let Some((reader, list)) = later.find(|(_, list)| !list.contains(&element)) {
                    let (writer, reader) = (self.name(i), self.name(*reader));
                    let story =
                        format!("{element} of {writer} is not in {list:?}, list {key} in {reader}");
                    found.push(Anomaly::new("lost", story));
                }
            }
        }
    }

    /// Since when it is known that a transaction took effect: its answer, or the first read that shows it.
    fn known_since(&self, i: usize) -> Option<u64> {
        let transaction = &self.history[i];
        if transaction.told == Told::Committed {
            return Some(transaction.end);
        }
        let shows =
            |t: &Transaction| t.reads().any(|(_, l)| l.iter().any(|e| self.writer(*e) == Some(i)));
        let seen = committed(self.history).filter(|(_, t)| shows(t)).map(|(_, t)| t.end);
        seen.min()
    }

    /// A transaction in words.
    pub fn name(&self, i: usize) -> String {
        let t = &self.history[i];
        format!(
            "T{i} (client {}, {:?}, {:?}, {}..{} µs)",
            t.client, t.told, t.promise, t.begin, t.end
        )
    }
}

fn committed(history: &[Transaction]) -> impl Iterator<Item = (usize, &Transaction)> {
    history.iter().enumerate().filter(|(_, t)| t.told == Told::Committed)
}
