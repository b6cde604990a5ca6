//! Interleaved rounds, medians, and the Markdown tables.

use crate::subject::Subject;
use std::io;
use std::thread;
use std::time::Duration;

/// Which way a figure is good; only for the reader of the table.
#[derive(Clone, Copy, Debug)]
pub enum Better {
    Lower,
    Higher,
}

/// A subject that failed so often is left out of the rounds that remain.
const FAILURES: usize = 3;

/// The figures of one subject, sorted, and what went wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    figures: Vec<f64>,
    errors: Vec<String>,
}

impl Samples {
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// A remark for the table; empty when all went well.
    pub fn failures(&self) -> String {
        match self.errors.last() {
            None => String::new(),
            Some(last) => format!("failed in {} rounds: {last}", self.errors.len()),
        }
    }

    /// The figure at `share` of the way through.
    fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.figures.len().checked_sub(1)?;
        let index = (last as f64 * share).round() as usize;
        self.figures.get(index).copied()
    }
}

/// Measures every subject once in each round, in a new order each time, so that drift of the
/// machine hits all alike and no subject always follows the same one.
pub fn interleave(
    rounds: usize,
    subjects: &[Subject],
    measure: impl Fn(&Subject) -> io::Result<f64>,
) -> Vec<Samples> {
    let mut samples = vec![Samples::default(); subjects.len()];
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // The first round warms pools, caches and the allocator, and is not kept.
    for round in 0..=rounds {
        random.shuffle(&mut order);
        for &index in &order {
            let samples = &mut samples[index];
            if samples.errors.len() >= FAILURES {
                continue;
            }
            match measure(&subjects[index]) {
                Ok(figure) if round > 0 => samples.figures.push(figure),
                Ok(_) => {}
                Err(error) => samples.errors.push(error.to_string()),
            }
            // What a subject leaves running behind its stop ends here and not in the next one's time.
            thread::sleep(Duration::from_millis(1));
        }
    }
    for samples in &mut samples {
        samples.figures.sort_by(f64::total_cmp);
    }
    samples
}

/// Measures all subjects and prints their table, with ratios to the first one.
pub fn compare(
    title: &str,
    unit: &str,
    better: Better,
    rounds: usize,
    subjects: &[Subject],
    measure: impl Fn(&Subject) -> io::Result<f64>,
) {
    let samples = interleave(rounds, subjects, measure);
    let reference = samples.first().and_then(Samples::median);
    let better = match better {
        Better::Lower => "lower is better",
        Better::Higher => "higher is better",
    };
    println!("\n{title}: median of {rounds} rounds, {unit}, {better}\n");
    let first = subjects.first().map_or("the first", |subject| subject.name);
    println!("| server | median | quartiles | ratio to {first} | |");
    println!("|-|-:|-:|-:|-|");
    for (subject, samples) in subjects.iter().zip(&samples) {
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| samples.quantile(share));
        let remarks = [subject.note.to_owned(), samples.failures()];
        let remarks: Vec<String> = remarks
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        println!(
            "| {} | {} | {} – {} | {} | {} |",
            subject.name,
            show(middle),
            show(low),
            show(high),
            ratio(middle, reference),
            remarks.join("; ")
        );
    }
}

/// Three significant digits or whole numbers, whichever says more.
pub fn show(figure: Option<f64>) -> String {
    match figure {
        None => "–".to_owned(),
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

pub fn ratio(figure: Option<f64>, reference: Option<f64>) -> String {
    match (figure, reference) {
        (Some(figure), Some(reference)) => format!("{:.2}", figure / reference),
        _ => "–".to_owned(),
    }
}

/// Xorshift: the same orders in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
