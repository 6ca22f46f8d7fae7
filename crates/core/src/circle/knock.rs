//! The judgement of a knock: may this guest come in, and what has to be written for it.

use super::{Circle, InviteState};
use crate::{
    entry::{Admission, Claim, Subject},
    id::{DeviceId, MemberId},
    message::{Farewell, Knock},
    time::Timestamp,
};

/// What a good knock calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A guest with an open invite: write this admission, then welcome them.
    Admit {
        /// To be written into our own feed.
        admission: Admission,
        /// What the inviter calls the guest.
        petname: alloc::string::String,
    },
    /// Somebody who belongs to the circle already, with a device that may be new: welcome them after
    /// [`Circle::introduce`].
    Welcome(MemberId),
}

impl Circle {
    /// Judges a knock that came over a link on which `peer` has proven its key.
    ///
    /// A member who knocks with their own certificate needs no invite: the words are the proof. So a
    /// guest whose admission was written but never answered may knock again.
    pub fn judge(
        &self,
        peer: DeviceId,
        knock: &Knock,
        now: Timestamp,
    ) -> Result<Verdict, Farewell> {
        if knock.circle.is_some_and(|circle| circle != self.id) {
            return Err(Farewell::ForeignCircle);
        }
        let card = knock.card.verify().map_err(|_| Farewell::InviteForged)?;
        let certificate = (knock.certificate.verify()).map_err(|_| Farewell::InviteForged)?;
        if certificate.device != peer || certificate.member != card.member {
            return Err(Farewell::InviteForged);
        }
        let member = card.member;
        if self.is_revoked(Subject::Member(member)) || self.is_revoked(Subject::Device(peer)) {
            return Err(Farewell::NotAMember);
        }
        let (Some(invite), Some(signature)) = (knock.invite, knock.claim) else {
            return self.welcome_known(member);
        };
        let claim = Claim {
            circle: self.id,
            member,
            device: peer,
        };
        if !claim.is_signed(&invite, &signature) {
            return Err(Farewell::InviteForged);
        }
        match self.invite(invite, now) {
            InviteState::Open(open) => Ok(Verdict::Admit {
                admission: Admission {
                    card: knock.card.clone(),
                    certificate: knock.certificate.clone(),
                    invite,
                    claim: signature,
                },
                petname: open.petname,
            }),
            _ if self.is_member(member) => Ok(Verdict::Welcome(member)),
            InviteState::Used(_) | InviteState::Contested => Err(Farewell::InviteUsed),
            InviteState::Expired => Err(Farewell::InviteExpired),
            InviteState::Unknown => Err(Farewell::InviteUnknown),
        }
    }

    fn welcome_known(&self, member: MemberId) -> Result<Verdict, Farewell> {
        if self.is_member(member) {
            Ok(Verdict::Welcome(member))
        } else {
            Err(Farewell::NotAMember)
        }
    }
}
