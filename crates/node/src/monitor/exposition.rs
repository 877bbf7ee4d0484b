//! Prometheus' text format (version 0.0.4), written: families with HELP and TYPE, samples with escaped labels.
//!
//! Pure: figures in, text out.

use std::fmt::Write;

use super::histogram::{BOUNDS, Histogram};

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Grows, and begins anew with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by bucket.
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A label's name and value.
pub(crate) type Label<'a> = (&'static str, &'a str);

/// The text as far as it is written.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family. All its samples follow before the next one begins.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let text = &mut self.text;
        text.push_str("# HELP ");
        text.push_str(name);
        text.push(' ');
        escape(text, help, false);
        text.push_str("\n# TYPE ");
        text.push_str(name);
        text.push(' ');
        text.push_str(kind.word());
        text.push('\n');
        Family { text, name }
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// All of it.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// A sample.
    pub(crate) fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        self.line("", labels, value);
    }

    /// A sample with the value 1 for the word that is so, and 0 for each of the others.
    pub(crate) fn one_of(
        &mut self,
        labels: &[Label<'_>],
        label: &'static str,
        words: &[&str],
        word: &str,
    ) {
        for known in words {
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([(label, *known)]).collect();
            self.sample(&labels, f64::from(u8::from(*known == word)));
        }
    }

    /// The samples of a histogram, in seconds.
    pub(crate) fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let (counts, sum_micros) = histogram.cumulative();
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound).to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.line("_bucket", &labels, count as f64);
        }
        self.line("_sum", labels, seconds(sum_micros));
        self.line("_count", labels, counts[BOUNDS.len()] as f64);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.text.push(' ');
        match value {
            value if value == f64::INFINITY => self.text.push_str("+Inf"),
            value if value == f64::NEG_INFINITY => self.text.push_str("-Inf"),
            // Writing to a string does not fail. What is not a number is written as the format has it: NaN.
            value => write!(self.text, "{value}").expect("a string takes everything"),
        }
        self.text.push('\n');
    }
}

/// Microseconds as the base unit of all durations.
pub(crate) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_family_has_its_help_and_type_before_its_samples_and_labels_are_escaped() {
        let mut exposition = Exposition::default();
        exposition.single("a_total", Kind::Counter, "Back\\slash, \"quotes\"\nand lines", 3.0);
        let mut family = exposition.family("b", Kind::Gauge, "B");
        family.sample(&[("x", "\"\\\n"), ("y", "")], 0.5);
        family.sample(&[], f64::INFINITY);
        family.one_of(&[("x", "z")], "is", &["c", "d"], "d");
        let expected = "# HELP a_total Back\\\\slash, \"quotes\"\\nand lines\n# TYPE a_total counter\na_total 3\n\
                        # HELP b B\n# TYPE b gauge\nb{x=\"\\\"\\\\\\n\",y=\"\"} 0.5\nb +Inf\n\
                        b{x=\"z\",is=\"c\"} 0\nb{x=\"z\",is=\"d\"} 1\n";
        assert_eq!(exposition.finish(), expected);
    }

    #[test]
    fn a_histogram_ends_with_everything_and_its_sum_is_in_seconds() {
        let histogram = Histogram::default();
        histogram.note(3, Duration::from_micros(150));
        histogram.note(1, Duration::from_secs(60));
        let mut exposition = Exposition::default();
        exposition.family("h_seconds", Kind::Histogram, "H").histogram(&[], &histogram);
        let text = exposition.finish();
        for line in [
            "h_seconds_bucket{le=\"0.0001\"} 0\n",
            "h_seconds_bucket{le=\"0.00025\"} 3\n",
            "h_seconds_bucket{le=\"10\"} 3\n",
            "h_seconds_bucket{le=\"+Inf\"} 4\n",
            "h_seconds_sum 60.00045\n",
            "h_seconds_count 4\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
