//! What was measured again and again.

use serde_json::{Value, json};

/// One figure, in each round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// Round by round, this over `base`: what slows the machine down for a
    /// while slows both.
    pub(crate) fn over(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(a, b)| a / b).collect())
    }

    /// Round by round, this less `base`.
    pub(crate) fn less(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(a, b)| a - b).collect())
    }

    /// The value below which are so many percent of the samples; NaN if there
    /// are none.
    fn quantile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted
            .get(last * percent / 100)
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// Median and the middle four fifths.
    pub(crate) fn json(&self) -> Value {
        json!({
            "median": self.quantile(50),
            "p10": self.quantile(10),
            "p90": self.quantile(90),
        })
    }
}

/// A figure with its spread.
pub(crate) fn spread(value: &Value, digits: usize) -> String {
    let number = |key: &str| value[key].as_f64().unwrap_or(f64::NAN);
    format!(
        "{:>9.digits$} ({:.digits$} .. {:.digits$})",
        number("median"),
        number("p10"),
        number("p90")
    )
}
