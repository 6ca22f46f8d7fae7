//! The node's feeds: writing our own, learning others', telling peers what they lack.

use alloc::vec::Vec;

use super::{Node, contact::Knowledge, encounter::Encounter};
use crate::{
    circle::{self, Change, Extent},
    codec::decode,
    entry::{AuditList, Body, Entry, ReceiptList, Receipts, SignedEntry, Subject, Tip},
    event::{CommandRefused, Effect, Gate, LinkId, Notice},
    feed::{Author, FeedError},
    id::DeviceId,
    key, limits,
    message::Farewell,
    record::PackKind,
    time::{Span, Timestamp},
};

impl Node {
    /// Writes an entry into our own feed. It takes effect here at once, elsewhere once it is durable.
    pub(super) fn append(&mut self, body: &Body) -> Result<u64, CommandRefused> {
        let now = self.now;
        if self.is_behind() {
            return Err(CommandRefused::Behind);
        }
        let Some(author) = self.author.as_mut() else {
            return Err(CommandRefused::NotJoined);
        };
        let from = author.tip().len;
        let signed = author.write(now, body)?;
        // We need not check what we signed just now.
        let (entry, change) = (self.circle)
            .take_by(&signed, |_, _| Ok(()))
            .expect("our own entry continues our own feed");
        self.harden();
        self.absorb(&entry, change);
        let (device, entries) = (self.device, alloc::vec![signed]);
        self.effect(Effect::Append {
            device,
            from,
            entries,
            own: true,
        });
        Ok(from)
    }

    /// Our own feed became longer.
    fn harden(&mut self) {
        let extent = self.circle.extent(self.device);
        self.hardening
            .extend(extent.map(|extent| (extent, self.now)));
    }

    /// Returns how many entries our own feed has.
    pub(super) fn own_len(&self) -> u64 {
        self.circle.chain(self.device).tip().len
    }

    /// Tells whether a peer says that it has more of our own feed than we: our disk may have come back
    /// older than it was. To write on would contradict what friends have; they send it first.
    pub(super) fn is_behind(&self) -> bool {
        let len = self.own_len();
        let open = self.encounters.values().filter(|it| it.is_open());
        open.filter_map(|it| it.theirs.get(&self.device))
            .any(|theirs| *theirs > len)
    }

    /// Returns how many of them are on stable storage.
    pub(super) fn durable_len(&self) -> u64 {
        self.durable.map_or(0, |extent| extent.tip.len)
    }

    /// Returns until when peers are asked to wait for own entries that are not on stable storage yet;
    /// nothing if there are none.
    pub(super) fn disk_wait(&self) -> Option<Timestamp> {
        let (_, since) = self.hardening.front()?;
        Some(*since + limits::DISK_WAIT)
    }

    /// Own entries are on stable storage: peers may hear of them.
    pub(super) fn appended(&mut self, len: u64) {
        while let Some((extent, _)) = (self.hardening.front()).filter(|(it, _)| it.tip.len <= len) {
            self.durable = Some(*extent);
            self.knowledge = None;
            self.hardening.pop_front();
        }
        self.contacts.touch();
        self.welcome_admitted();
        let links: Vec<LinkId> = self.encounters.keys().copied().collect();
        for link in links {
            self.tell_own(link);
        }
    }

    /// Checks an entry against its feed and takes it in. Returns nothing if it was known.
    pub(super) fn learn(&mut self, signed: &SignedEntry) -> Result<Option<Entry>, FeedError> {
        let (entry, change) = match self.circle.take_by(signed, self.check) {
            Ok(taken) => taken,
            Err(FeedError::Duplicate { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if entry.device == self.device {
            // From our disk, or from a friend because our disk lost it: go on after it.
            let (circle, secret) = (self.circle.id(), &self.identity.device_secret);
            let hash = signed.hash();
            self.author = Some(Author::resume(circle, secret, entry.seq + 1, hash));
            self.harden();
        }
        self.absorb(&entry, change);
        Ok(Some(entry))
    }

    /// Draws the consequences of an entry that the circle has taken.
    fn absorb(&mut self, entry: &Entry, change: Change) {
        self.knowledge = None;
        if change == Change::Membership {
            self.replan_all();
            self.contacts.touch();
            self.open_waiting();
            self.review_soon();
            self.keys_due = true;
        }
        let Ok(body) = Body::from_entry(entry) else {
            return;
        };
        // Of these there are many, and none names anybody.
        let bulk = matches!(
            body,
            Body::Head(_)
                | Body::Held(_)
                | Body::Audited(_)
                | Body::Obeyed(_)
                | Body::Located(_)
                | Body::Met(_)
                | Body::Entrusted(_)
                | Body::Recalled(_)
                | Body::Aboard(_)
                | Body::Sighted(_)
        );
        if change != Change::Nothing || !bulk {
            self.names += 1;
        }
        self.open(entry, &body);
        match body {
            Body::Wrapped(_) => self.keys_due = true,
            Body::Released(release) => self.note_release(entry.device, entry.seq, release),
            Body::Revoked(revocation) => {
                let courier = |device| self.circle.is_courier(device);
                if matches!(revocation.subject, Subject::Device(device) if !courier(device)) {
                    // What a stolen device has released comes back, as if its owner had vetoed it.
                    self.note_theft(entry.device, entry.seq);
                }
                self.part_with_removed();
            }
            Body::Vetoed(veto) => self.note_veto(entry.device, entry.seq, &veto),
            Body::Obeyed(obedience) if entry.device == self.device => {
                self.note_obedience(obedience);
            }
            Body::Held(receipts) if receipts.owner != self.member => {
                self.note_receipt_for(entry.device, entry.seq, receipts.owner);
            }
            Body::Offered(_) => {
                self.contacts.forget_no_room(entry.device);
                self.rest_no_more(entry.device);
            }
            _ => {}
        }
    }

    pub(super) fn open_receipts(&mut self, holder: DeviceId, seq: u64, receipts: &Receipts) {
        let Some(list) = self.receipt_list(receipts) else {
            return;
        };
        let failed = self.inventory.note_receipts(holder, &list, seq);
        if self.inventory.is_unordered() {
            // Before the start, which looks at everything.
            return;
        }
        for stem in list.held {
            if let Some((pack, shard)) = self.inventory.by_stem(stem) {
                let pack = pack.record.id;
                self.look_for(pack);
                if !self.inventory.holding(holder, shard).believed() {
                    // It says again what it could not show: nothing is on its way there.
                    self.replan(pack);
                }
                self.recall_needless(pack);
                self.notify(Notice::Placed {
                    pack,
                    shard,
                    holder,
                });
            }
        }
        for stem in list.dropped {
            if let Some((pack, _)) = self.inventory.by_stem(stem) {
                let pack = pack.record.id;
                self.replan(pack);
                self.judge(pack);
            }
        }
        for pack in failed {
            self.replan(pack);
        }
    }

    /// Returns what a holder says about our shards, if these are receipts for us and keys are here.
    pub(super) fn receipt_list(&self, receipts: &Receipts) -> Option<ReceiptList> {
        let secret = &self.identity.vault.inventory;
        let info = key::context::RECEIPTS.as_bytes();
        let plain = key::open_with(secret, info, &receipts.sealed).ok()?;
        decode("receipts", &plain).ok()
    }

    pub(super) fn open_audits(&mut self, sealed: &[u8]) {
        let secret = &self.identity.vault.inventory;
        let Ok(plain) = key::open_with(secret, key::context::AUDITS.as_bytes(), sealed) else {
            return;
        };
        let Ok(list) = decode::<AuditList>("audits", &plain) else {
            return;
        };
        self.note_outcomes(&list);
        for pack in self.inventory.note_outcomes(list) {
            self.replan(pack);
        }
    }

    /// Returns our version vector: what is durable of our own feed, and all that we know of others'.
    pub fn tips(&self) -> Vec<Tip> {
        let mut tips: Vec<Tip> = self
            .circle
            .tips()
            .filter(|tip| tip.device != self.device)
            .collect();
        tips.extend(self.durable.map(|extent| extent.tip));
        tips.sort_unstable();
        tips
    }

    /// Returns digests of what we know, as far as it is durable.
    pub(crate) fn knowledge(&self) -> Knowledge {
        self.knowledge.unwrap_or_else(|| self.digest())
    }

    fn digest(&self) -> Knowledge {
        let known = (self.circle.extents()).filter(|extent| extent.tip.device != self.device);
        let mut known: Vec<Extent> = known.chain(self.durable).collect();
        known.sort_unstable();
        let ours = |extent: &&Extent| self.circle.member_of(extent.tip.device) == Some(self.member);
        Knowledge {
            news: circle::digest(known.iter().map(|extent| extent.news)),
            own: circle::digest(known.iter().filter(ours).map(|extent| extent.tip)),
        }
    }

    /// A peer's entries came.
    pub(super) fn entries(&mut self, link: LinkId, entries: Vec<SignedEntry>) {
        if !self.take_in(Some(link), entries) {
            return self.close(link, Farewell::ProtocolError);
        }
        self.contacts.touch();
        self.spread_news();
    }

    /// Entries that lay on a courier came. Those that are no entries of this circle are passed over:
    /// there is nobody to part with.
    pub(super) fn carried(&mut self, entries: Vec<SignedEntry>) {
        self.take_in(None, entries);
        self.contacts.touch();
        self.spread_news();
    }

    /// Takes entries in, as far as they fit, and has them stored. Of a peer's, the first that no honest
    /// peer sends ends it; returns false then.
    fn take_in(&mut self, link: Option<LinkId>, entries: Vec<SignedEntry>) -> bool {
        let mut honest = true;
        let mut run: Option<(DeviceId, u64, Vec<SignedEntry>)> = None;
        for signed in entries {
            match self.learn(&signed) {
                Ok(Some(entry)) => {
                    if let Some(link) = link {
                        self.heard(link, entry.device, entry.seq + 1);
                    }
                    match &mut run {
                        Some((device, _, entries)) if *device == entry.device => {
                            entries.push(signed);
                        }
                        _ => {
                            self.store_run(run.take());
                            run = Some((entry.device, entry.seq, alloc::vec![signed]));
                        }
                    }
                }
                Ok(None) => {}
                Err(FeedError::Fork { .. }) => {
                    if let Ok(entry) = signed.verify() {
                        self.notify(Notice::Forked {
                            device: entry.device,
                        });
                    }
                }
                Err(FeedError::Gap { .. } | FeedError::TooManyDevices) => {}
                Err(_) if link.is_some() => {
                    honest = false;
                    break;
                }
                Err(_) => {}
            }
        }
        self.store_run(run);
        honest
    }

    fn store_run(&mut self, run: Option<(DeviceId, u64, Vec<SignedEntry>)>) {
        let Some((device, from, entries)) = run else {
            return;
        };
        let own = device == self.device;
        self.effect(Effect::Append {
            device,
            from,
            entries,
            own,
        });
    }

    /// Notes that the peer of a link has a feed up to this length.
    fn heard(&mut self, link: LinkId, device: DeviceId, len: u64) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            let theirs = encounter.theirs.entry(device).or_default();
            *theirs = (*theirs).max(len);
        }
    }

    /// Tells every peer what it lacks.
    fn spread_news(&mut self) {
        let links = self.encounters.keys().copied().collect();
        self.relay(links);
    }

    /// Goes on telling what waited for company, see [`Node::relay`].
    pub(super) fn relay_if_due(&mut self) {
        let now = self.now;
        let due = |it: &Encounter| it.relay_at().is_some_and(|at| at <= now);
        let links = self.encounters.iter().filter(|(_, it)| due(it));
        let links: Vec<LinkId> = links.map(|(link, _)| *link).collect();
        if !links.is_empty() {
            self.relay(links);
        }
    }

    /// Tells a peer what it lacks.
    pub(super) fn tell_news(&mut self, link: LinkId) {
        self.relay(alloc::vec![link]);
    }

    /// Tells peers what they lack. What others wrote goes at once among few; in a crowd, where it comes
    /// from all sides, it is gathered: else each entry would cross each of n² links by itself.
    fn relay(&mut self, links: Vec<LinkId>) {
        let tips = self.tips();
        let open = self.encounters.values().filter(|it| it.is_open()).count();
        let rest = match open >= limits::CROWD {
            true => Span(limits::GOSSIP_TURN.0.saturating_mul(open as u64)),
            false => Span(0),
        };
        for link in links {
            self.relay_to(link, &tips, rest);
        }
    }

    /// Tells a peer what it lacks of what `tips` name, if it was told of others' entries a while ago:
    /// next time not before `rest` has passed.
    fn relay_to(&mut self, link: LinkId, tips: &[Tip], rest: Span) {
        let (now, own) = (self.now, self.device);
        let Some(encounter) = self.hearer(link) else {
            return;
        };
        if encounter.relay_due > now {
            encounter.untold = true;
            return self.tell_own(link);
        }
        encounter.untold = false;
        let mut runs = Vec::new();
        for tip in tips {
            let theirs = encounter.theirs.entry(tip.device).or_default();
            if *theirs < tip.len {
                runs.push((tip.device, *theirs, tip.len));
                *theirs = tip.len;
            }
        }
        if runs.iter().any(|(device, ..)| *device != own) {
            encounter.relay_due = now + rest;
        }
        for (device, from, to) in runs {
            self.tell(link, device, from, to);
        }
    }

    /// Tells a peer what it lacks of our own feed.
    fn tell_own(&mut self, link: LinkId) {
        let (own, len) = (self.device, self.durable_len());
        let Some(encounter) = self.hearer(link) else {
            return;
        };
        let theirs = encounter.theirs.entry(own).or_default();
        if *theirs < len {
            let from = core::mem::replace(theirs, len);
            self.tell(link, own, from, len);
        }
    }

    /// Returns the encounter of a link if its peer may hear what we know.
    fn hearer(&mut self, link: LinkId) -> Option<&mut Encounter> {
        let encounter = self.encounters.get_mut(&link)?;
        let known = |member| self.circle.is_member(member) || encounter.gate != Gate::Circle;
        let may = encounter.is_open() && encounter.member.is_some_and(known);
        may.then_some(encounter)
    }

    fn tell(&mut self, link: LinkId, device: DeviceId, from: u64, to: u64) {
        self.stir(link);
        self.progress(link);
        self.effect(Effect::SendEntries {
            link,
            device,
            from,
            to,
        });
    }

    /// Takes a new pack of ours.
    pub(super) fn add_pack(&mut self, pack: crate::record::PackRecord, available: bool) {
        let id = pack.id;
        debug_assert!(pack.kind != PackKind::Metadata || pack.coding.k == 1);
        if self.inventory.add_pack(pack, available) {
            self.replan(id);
            self.contacts.touch();
        }
        self.judge(id);
    }
}
