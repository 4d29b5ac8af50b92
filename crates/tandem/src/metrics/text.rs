//! Prometheus' text exposition format, version 0.0.4: families with help and type, samples with labels.

use std::fmt::{Display, Write as _};

use tandem_store::stats::Histogram;

/// What a family's numbers do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// The page being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// A family with one number.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.head(name, kind.name(), help);
        self.sample(name, &[], value);
    }

    /// A family with one number for each set of labels. Nothing is written for none.
    pub(super) fn family<'l, V: Display, const N: usize>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], V)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(name, kind.name(), help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    /// A histogram.
    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in &histogram.buckets {
            self.sample(&bucket, &[("le", &bound.to_string())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count);
        self.sample(&format!("{name}_sum"), &[], histogram.sum);
        self.sample(&format!("{name}_count"), &[], histogram.count);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.write(format_args!("{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' }));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{end} {value}\n"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes everything");
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_samples_and_histograms() {
        let mut page = Page::default();
        page.single("a", Kind::Gauge, "One.", 1.5);
        page.family("b_total", Kind::Counter, "Two.", [([("x", "1"), ("y", "q\"\\")], 2)]);
        page.family("none_total", Kind::Counter, "None.", Vec::<([(&str, &str); 1], u64)>::new());
        page.histogram("c", "Three.", &Histogram { buckets: vec![(0.5, 1), (1.0, 3)], count: 4, sum: 9.25 });
        assert_eq!(
            page.finish(),
            "# HELP a One.\n# TYPE a gauge\na 1.5\n\
             # HELP b_total Two.\n# TYPE b_total counter\nb_total{x=\"1\",y=\"q\\\"\\\\\"} 2\n\
             # HELP c Three.\n# TYPE c histogram\nc_bucket{le=\"0.5\"} 1\nc_bucket{le=\"1\"} 3\nc_bucket{le=\"+Inf\"} 4\n\
             c_sum 9.25\nc_count 4\n"
        );
    }
}
