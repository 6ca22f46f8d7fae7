//! Governing: the owner's rules, the hour, a pause and the machine's state become terms, and both
//! ends of a link keep to the stricter ones.

use core::num::NonZeroU64;

use super::{
    Node,
    contact::Bar,
    encounter::{Encounter, Stage},
};
use crate::{
    beacon::Flags,
    event::{Effect, LinkClass, LinkId},
    limits,
    link::Route,
    message::{Farewell, Message},
    policy::{Bulk, Machine, Policy, Terms, lower},
    time::Timestamp,
};

impl Node {
    pub(super) fn govern(&mut self, policy: Policy) {
        if policy != self.policy {
            self.policy = policy;
            self.contacts.unbar();
        }
    }

    pub(super) fn pause(&mut self, until: Option<Timestamp>) {
        self.paused = until.filter(|until| *until > self.now);
        self.contacts.unbar();
    }

    pub(super) fn end_pause(&mut self) {
        if self.paused.is_some_and(|until| until <= self.now) {
            self.pause(None);
        }
    }

    /// The shell had a look at the machine.
    pub(super) fn strained(&mut self, machine: Machine) {
        let strain = self.strain.after(machine);
        if strain != self.strain {
            self.strain = strain;
            self.contacts.unbar();
        }
    }

    /// Returns until when nothing is done by itself.
    pub fn paused_until(&self) -> Option<Timestamp> {
        self.paused
    }

    /// Tells whether the node does nothing by itself at `now`.
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused.is_some_and(|until| until > now)
    }

    /// Tells whether an encounter is under way.
    pub fn is_meeting(&self) -> bool {
        !self.encounters.is_empty()
    }

    /// Returns what our beacon says about this machine.
    pub fn beacon_flags(&self) -> Flags {
        if self.strain.low_battery {
            Flags::LOW_BATTERY
        } else {
            Flags::default()
        }
    }

    /// Returns how much of the bulk may go over the best of links now.
    pub(super) fn bulk_at_best(&self) -> Bulk {
        self.strain.ease(Terms::default()).bulk
    }

    /// Tells whether what the owner wants back may come over a link: at any hour, and also during a
    /// pause, but not where bulk is not wanted at all.
    pub(super) fn may_fetch(&self, encounter: &Encounter) -> bool {
        self.policy.rule(encounter.class).bulk && encounter.their_terms.bulk != Bulk::Nothing
    }

    fn terms_for(&self, encounter: &Encounter) -> Terms {
        let class = encounter.class;
        let open = self.paused.is_none() && self.policy.is_open(class, self.now);
        let terms = Terms {
            bulk: if open {
                Bulk::Everything
            } else {
                Bulk::Nothing
            },
            rate: self.policy.rule(class).rate,
            metered: encounter.facts.judge(None) == LinkClass::Metered,
        };
        match encounter.facts.route {
            Route::SameMachine => self.strain.within_machine().ease(terms),
            _ => self.strain.ease(terms),
        }
    }

    /// Makes up our mind about a link, and returns it to be said.
    pub(super) fn come_to_terms(&mut self, link: LinkId) -> Terms {
        let Some(encounter) = self.encounters.get(&link) else {
            return Terms::default();
        };
        let terms = self.terms_for(encounter);
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.our_terms = terms;
        }
        terms
    }

    /// Sees to it that both ends know our terms, and that the shell keeps to the stricter rate.
    pub(super) fn keep_terms(&mut self, link: LinkId) {
        let Some(said) = self.encounters.get(&link).map(|it| it.our_terms) else {
            return;
        };
        let terms = self.come_to_terms(link);
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if terms != said {
            encounter.planned = None;
            if terms.bulk == Bulk::Nothing && encounter.moves_shards() {
                // What came is kept; the peer hears why when it calls again.
                return self.close(link, Farewell::Done);
            }
        }
        let rate = lower(terms.rate, encounter.their_terms.rate)
            .map(|rate| rate.max(NonZeroU64::new(limits::RATE_MIN).unwrap_or(NonZeroU64::MIN)));
        let changed = rate != encounter.rate;
        encounter.rate = rate;
        if changed {
            self.effect(Effect::Limit { link, rate });
        }
        if terms != said {
            self.send(link, Message::Terms(terms));
        }
    }

    /// Notes at the end of an encounter what its terms left no hope for.
    pub(super) fn bar(&mut self, encounter: &Encounter) {
        if encounter.member.is_none() {
            return;
        }
        let ours = self.terms_for(encounter).bulk;
        let bar = Bar {
            bulk: ours.min(encounter.their_terms.bulk),
            fetch: self.may_fetch(encounter),
            until: self.now + limits::BAR_WAIT,
        };
        if bar.bulk == Bulk::Everything && bar.fetch {
            return;
        }
        let change = self.policy.next_change(encounter.class, self.now);
        let until = change.map_or(bar.until, |at| at.min(bar.until));
        self.contacts.bar(encounter.peer, Bar { until, ..bar });
    }

    /// Returns when terms change by themselves.
    pub(super) fn terms_timeout(&self) -> Option<Timestamp> {
        let open = self
            .encounters
            .values()
            .filter(|it| it.stage == Stage::Open);
        let hours = open.filter_map(|it| self.policy.next_change(it.class, self.now));
        hours.chain(self.paused).min()
    }
}
