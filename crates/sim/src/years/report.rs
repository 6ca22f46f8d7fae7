//! Many seeds of a setting under every policy, and what they say together.

use std::{
    fmt, io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{
    cast::Setting,
    life, plot,
    rival::{self, Policy},
    score::{Score, quantile},
    trace::Trace,
};
use crate::{checker::Violation, seeds};

/// The name of our own policy.
const OURS: &str = "Carryall";

/// What years of circles showed.
#[derive(Debug)]
pub struct Years {
    setting: Setting,
    years: u32,
    rows: Vec<(&'static str, Score)>,
    /// Promises that were not kept, with the seed to replay them.
    pub violations: Vec<(u64, Violation)>,
}

/// Lives through `years` in each of the seeds, under every policy.
///
/// What is not ours is left out if `alone` is set.
pub fn live(setting: Setting, years: u32, seeds: std::ops::Range<u64>, alone: bool) -> Years {
    let rows = names(alone).map(|name| (name, Score::default())).collect();
    let all = Mutex::new(Years {
        setting,
        years,
        rows,
        violations: Vec::new(),
    });
    seeds::for_each(seeds, |seed| {
        let trace = Trace::new(setting, years, seed);
        let lived = life::live(&trace, seed, None);
        let mut scores = vec![lived.score];
        let rivals = Policy::ALL.into_iter().filter(|_| !alone);
        scores.extend(rivals.map(|policy| rival::live(&trace, policy, seed)));
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, sum), score) in all.rows.iter_mut().zip(scores) {
            sum.add(score);
        }
        let violations = lived.violations.into_iter().map(|it| (seed, it));
        all.violations.extend(violations);
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.violations.sort_by_key(|it| it.0);
    all
}

fn names(alone: bool) -> impl Iterator<Item = &'static str> {
    let rivals = Policy::ALL.into_iter().filter(move |_| !alone);
    std::iter::once(OURS).chain(rivals.map(Policy::name))
}

impl Years {
    /// Returns how many encounters of the shipped core were simulated.
    pub fn encounters(&self) -> u64 {
        self.rows.first().map_or(0, |(_, score)| score.hellos / 2)
    }

    /// Returns the share of all packs called safe at some midnight that a fault, of which their owner
    /// could not know yet, had made unrebuildable.
    pub fn overtaken(&self) -> (u64, u64) {
        let ours = self.rows.first().map(|(_, score)| score.called);
        ours.map_or((0, 0), |[looks, overtaken]| (overtaken, looks))
    }

    /// Writes the table and the plots into a directory.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let name = self.setting.name();
        let file = |what: &str| directory.join(format!("{name}-{what}"));
        std::fs::write(file("table.md"), format!("{self}\n"))?;
        let waits = self.rows.iter().map(|(name, score)| (*name, score.waits()));
        let waits: Vec<_> = waits.collect();
        let title = format!("{name}: share of new packs that friends alone can rebuild");
        std::fs::write(file("safe.svg"), plot::shares(&title, "days", &waits))?;
        let restores = self
            .rows
            .iter()
            .map(|(name, score)| (*name, score.restores()));
        let restores: Vec<_> = restores.collect();
        let title = format!("{name}: share of restores that are complete");
        std::fs::write(file("restore.svg"), plot::shares(&title, "days", &restores))?;
        let bars = |value: fn(&Score) -> f64| -> Vec<(&str, f64)> {
            let rows = self.rows.iter();
            rows.map(|(name, score)| (*name, value(score))).collect()
        };
        let title = format!("{name}: bytes on friends' disks for a byte of data");
        std::fs::write(file("space.svg"), plot::bars(&title, &bars(Score::space)))?;
        let title = format!("{name}: packs lost that had been safe, per million years of a pack");
        std::fs::write(
            file("lost.svg"),
            plot::bars(&title, &bars(Score::lost_per_million)),
        )
    }
}

impl fmt::Display for Years {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| {}, {} years | safe after, p50 | p99 | safe at midnight | lost per million pack-years | lost before safe, per run | space | LAN, GB a run | WAN | restored after, p50 | p90 |",
            self.setting.name(),
            self.years
        )?;
        write!(f, "|---|---|---|---|---|---|---|---|---|---|---|")?;
        for (name, score) in &self.rows {
            let (waits, restores) = (score.waits(), score.restores());
            let [lan, wan] = score.moved_gb();
            let early = score.lost_early as f64 / score.runs.max(1) as f64;
            write!(
                f,
                "\n| {name} | {} | {} | {:.3} % | {:.0} | {early:.2} | {:.2} | {lan:.0} | {wan:.0} | {} | {} |",
                days(quantile(&waits, 500)),
                days(quantile(&waits, 990)),
                100.0 * score.safe_at_midnight(),
                score.lost_per_million(),
                score.space(),
                days(quantile(&restores, 500)),
                days(quantile(&restores, 900)),
            )?;
        }
        if let Some((_, ours)) = self.rows.first() {
            let (overtaken, looks) = self.overtaken();
            let (cheats, named) = ours.cheats();
            write!(
                f,
                "\n\n{} runs. Settled packs take {:.1} % of their k-of-n space. Of {looks} looks at a pack at midnight {overtaken} found it called safe though a fault, not found out yet, had made it unrebuildable. {named} of {cheats} machines that dropped shards were named.",
                ours.runs,
                100.0 * ours.settled(),
            )?;
            let (count, [foretold, after], [likely, latest]) = ours.forecasts();
            write!(
                f,
                " Of {count} restores that took a day or more, the middle was foretold as {} and took {}; {:.0} % were over by the time called likely, {:.0} % by that called the latest.",
                days(foretold),
                days(after),
                100.0 * likely,
                100.0 * latest,
            )?;
        }
        Ok(())
    }
}

/// Says so many days in words.
pub(super) fn days(days: f64) -> String {
    match days {
        days if days.is_nan() => "-".to_owned(),
        days if days.is_infinite() => "never".to_owned(),
        days if days < 0.1 => format!("{:.0} min", days * 24.0 * 60.0),
        days if days < 2.0 => format!("{:.1} h", days * 24.0),
        days => format!("{days:.1} d"),
    }
}
