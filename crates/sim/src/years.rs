//! A circle over years: people who meet or don't, machines that break, homes that burn, friends who
//! leave or lie, and what of their data is safe meanwhile.
//!
//! What happens is drawn first ([`trace`]), and is the same for every policy. Ours is the shipped core
//! on every machine ([`life`]); only the bytes weigh next to nothing ([`packs`]), and disks, links and
//! clocks are made up ([`world`]). What others would do is a light model ([`rival`]).

mod calendar;
mod cast;
mod fate;
mod homecoming;
mod judge;
mod liars;
mod life;
mod link;
mod packs;
mod parcels;
mod plot;
mod report;
mod rival;
mod score;
mod station;
mod stays;
#[cfg(test)]
mod theory;
mod trace;
mod world;

pub use cast::Setting;
pub use homecoming::{Homecomings, come_home};
pub use liars::{Named, lie, lies};
pub use parcels::{Carried, carry};
pub use report::{Years, live};

#[cfg(test)]
mod tests {
    use carryall_core::event::Command;

    use super::*;

    #[test]
    fn a_month_of_each_setting_keeps_every_promise_and_says_the_same_twice() {
        for setting in Setting::ALL {
            let month = || {
                let trace = trace::Trace::new(setting, 1, 5).until(25);
                life::live(&trace, 5, None)
            };
            let lived = month();
            assert_eq!(lived.violations, []);
            assert!(lived.score.waits().len() > 50, "{setting:?}");
            assert!(lived.score.called[0] > 300, "{setting:?}");
            if setting == Setting::Family {
                let again = month();
                assert_eq!(lived.score.hellos, again.score.hellos);
                assert_eq!(lived.score.waits(), again.score.waits());
            }
        }
    }

    #[test]
    fn what_a_machines_own_disk_answers_is_heard_though_it_is_switched_off() {
        let mut life = life::Life::begin(cast::Cast::of_laptops(2), 1, 0);
        let world = &mut life.world;
        let durable = |world: &world::World| {
            let it = &world.stations[0];
            let tips = it.node.tips().into_iter();
            let mut own = tips.filter(|tip| tip.device == it.device);
            own.next().map(|tip| tip.len)
        };
        let before = durable(world);
        assert!(world.stations[0].spot.is_none());
        let head = vec![1; 300];
        assert!(world.command(0, Command::Publish { head }));
        assert!(durable(world) > before, "what it wrote lies on its disk");
    }

    #[test]
    fn with_carriers_more_friends_hold_packs_where_many_never_meet() {
        // Of packs that so few may have, many still wait after these weeks.
        let reached = |carriers| {
            let lived = parcels::one(Setting::Village, 40, 3, false, carriers);
            assert_eq!(lived.violations, []);
            let waits = lived.score.spreads();
            assert!(waits.len() > 50);
            let reached = waits.iter().filter(|it| it.is_finite()).count();
            (reached, lived.score.carried_gb())
        };
        let (without, nothing) = reached(0);
        let (with, carried) = reached(2);
        assert!(with > without, "{with} {without}");
        assert!(carried > 0.0 && nothing == 0.0, "{carried} {nothing}");
    }

    #[test]
    fn whose_house_burns_gets_everything_back_from_friends_they_meet() {
        let (over, violations) = homecoming::one(1);
        assert_eq!(violations, []);
        let over = over.unwrap();
        assert!(
            over.by.is_finite() && over.by <= over.at_the_latest,
            "{over:?}"
        );
    }

    #[test]
    fn disks_that_lose_what_they_keep_are_found_out() {
        let trace = trace::Trace::new(Setting::Family, 1, 5).calm().until(10);
        let lived = life::live(&trace, 5, Some(life::Slip::LoseShards));
        let false_safe = lived
            .violations
            .iter()
            .filter(|it| it.checker == "false safe");
        assert!(false_safe.count() > 0, "{:?}", lived.violations);
    }

    #[test]
    fn other_policies_place_everything_in_calm_months() {
        for policy in rival::Policy::ALL {
            let trace = trace::Trace::new(Setting::Office, 1, 5).calm().until(90);
            let score = rival::live(&trace, policy, 5);
            assert!(score.waits().len() > 100, "{policy:?}");
            assert!(score.safe_at_midnight() > 0.5, "{policy:?} {score:?}");
            assert_eq!((score.lost, score.lost_early), (0, 0), "{policy:?}");
        }
    }

    #[test]
    fn who_drops_a_twentieth_is_named_in_the_second_meeting_at_the_latest() {
        for seed in 1..=3 {
            let named = lie(seed, 50, 7);
            assert!(
                named.meeting.is_some_and(|it| it <= 2),
                "seed {seed}: {named:?}"
            );
        }
    }

    #[test]
    fn who_drops_one_shard_is_named_within_a_month() {
        for seed in 1..=2 {
            let named = lie(seed, 1, 5);
            assert!(
                named.days.is_some_and(|it| it <= 31),
                "seed {seed}: {named:?}"
            );
        }
    }
}
