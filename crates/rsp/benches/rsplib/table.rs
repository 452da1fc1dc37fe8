//! Figures, and how they are printed: as a table that goes into a page as it is.

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

/// A table with these columns.
pub fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(head);
    table
}

/// The middle one; not a number if there is none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The ratio of the medians, and that of the worst pair.
pub fn ratio(subject: &[f64], reference: &[f64]) -> (f64, f64) {
    let pairs = subject.iter().zip(reference).map(|(one, other)| one / other);
    (median(subject) / median(reference), pairs.fold(0.0, f64::max))
}

/// Whether a figure is what it must be.
pub fn verdict(figure: f64, must: f64) -> &'static str {
    if figure <= must { "kept" } else { "missed" }
}
