//! The writer's part in tokens and invitations. Each change is a commit of its own; what it takes away and what it
//! makes become durable together, so that a code makes one token, whoever races and whatever crashes.

use tandem_model::DomainName;

use super::{Answer, Writer, storage};
use crate::backend::{Act, Backend, StoredAnswer, StoredInvitation, StoredToken};
use crate::directory::Registered;
use crate::error::DirectoryError;
use crate::invitation::{InvitationCode, InvitationInfo, MAX_INVITATIONS, NewInvitation};
use crate::keep::Keep;
use crate::token::{
    self, MAX_OVERLAP, MAX_SELF_MADE, MAX_TOKENS, NewToken, Origin, Right, Rights, Scope, TokenError, TokenInfo,
    TokenSecret,
};

/// Seconds that a token lives which a stranger made: a year.
const SELF_MADE_LIFE: u64 = 31_536_000;
/// Seconds that such a token holds its name though nothing is registered there: a week.
const UNUSED_HOLD: u64 = 7 * 86_400;

/// Tokens that are looked at for one that can go when strangers have made as many as they may.
const SWEEP: usize = 200;

/// A token just made, or with a new secret.
pub(crate) type Issued = (TokenInfo, TokenSecret);
/// An invitation just made.
pub(crate) type Invited = (InvitationInfo, InvitationCode);

/// What a stranger asks for.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) domain: DomainName,
    /// Whether what is published first waits for an admin.
    pub(crate) moderated: bool,
    /// The key that the domain's owner has named, if the domain is proved; who asks has shown that it has the key.
    pub(crate) proved_key: Option<Box<str>>,
}

/// What the writer is asked to do with credentials.
#[derive(Debug)]
pub(crate) enum CredentialCommand {
    /// Make a token.
    Issue { new: NewToken, by: Option<String>, keep: Option<Keep<Issued>>, answer: Answer<Issued, TokenError> },
    /// Give a token another secret; the old one is valid for `overlap` seconds more.
    Rotate {
        id: String,
        overlap: u64,
        expires_in: Option<u64>,
        by: String,
        keep: Option<Keep<Issued>>,
        answer: Answer<Issued, TokenError>,
    },
    /// End a token.
    Revoke { id: String, by: String, answer: Answer<(), TokenError> },
    /// Make an invitation.
    Invite { new: NewInvitation, by: String, keep: Option<Keep<Invited>>, answer: Answer<Invited, TokenError> },
    /// Withdraw an invitation.
    Uninvite { id: String, by: String, answer: Answer<(), TokenError> },
    /// Make the token of the invitation with the code of this hash.
    Redeem { hash: [u8; 32], keep: Option<Keep<Issued>>, answer: Answer<Issued, TokenError> },
    /// Make a token for a stranger.
    Apply { application: Application, keep: Option<Keep<Issued>>, answer: Answer<Issued, TokenError> },
}

/// An act and who asked for it.
type Deed = (Act, Option<String>);

impl<B: Backend + ?Sized> Writer<B> {
    /// Does what is asked and answers. Nothing must be staged.
    pub(super) fn credential(&mut self, command: CredentialCommand) {
        // Whoever has gone got no promise; and a code must not be spent for nobody.
        match command {
            CredentialCommand::Issue { new, by, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.issue(new, by, keep));
            }
            CredentialCommand::Rotate { id, overlap, expires_in, by, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.rotate(&id, overlap, expires_in, by, keep));
            }
            CredentialCommand::Revoke { id, by, answer } if !answer.is_closed() => {
                let _ = answer.send(self.revoke(&id, by));
            }
            CredentialCommand::Invite { new, by, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.invite(new, by, keep));
            }
            CredentialCommand::Uninvite { id, by, answer } if !answer.is_closed() => {
                let _ = answer.send(self.uninvite(&id, by));
            }
            CredentialCommand::Redeem { hash, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.redeem(&hash, keep));
            }
            CredentialCommand::Apply { application, keep, answer } if !answer.is_closed() => {
                let _ = answer.send(self.apply(application, keep));
            }
            CredentialCommand::Issue { .. }
            | CredentialCommand::Rotate { .. }
            | CredentialCommand::Revoke { .. }
            | CredentialCommand::Invite { .. }
            | CredentialCommand::Uninvite { .. }
            | CredentialCommand::Redeem { .. }
            | CredentialCommand::Apply { .. } => {}
        }
    }

    fn issue(&mut self, new: NewToken, by: Option<String>, keep: Option<Keep<Issued>>) -> Result<Issued, TokenError> {
        new.check()?;
        let now = (self.clock)();
        self.demand_first(keep.as_ref(), now)?;
        let mut deeds = self.expired_tokens(now);
        let made = self.make(new, Origin::Admin, false, now, deeds.len())?;
        deeds.push((Act::IssueToken(made.0.clone()), by));
        self.finish_token(deeds, made, keep, now)
    }

    fn rotate(
        &mut self,
        id: &str,
        overlap: u64,
        expires_in: Option<u64>,
        by: String,
        keep: Option<Keep<Issued>>,
    ) -> Result<Issued, TokenError> {
        if overlap > MAX_OVERLAP {
            return Err(TokenError::Limit("the old secret stays valid for at most 2592000 seconds (30 days)"));
        }
        let now = (self.clock)();
        self.demand_first(keep.as_ref(), now)?;
        let mut token = self.keyring.token(id, now).ok_or(TokenError::Unknown)?;
        let secret = TokenSecret::random().map_err(no_chance)?;
        (token.previous_hash, token.info.previous_until) =
            if overlap == 0 { (None, None) } else { (Some(token.hash), Some(now.saturating_add(overlap))) };
        token.hash = secret.hash();
        if let Some(seconds) = expires_in {
            token.info.expires = Some(now.saturating_add(seconds));
        }
        self.finish_token(vec![(Act::RotateToken(token.clone()), Some(by))], (token, secret), keep, now)
    }

    fn revoke(&mut self, id: &str, by: String) -> Result<(), TokenError> {
        let now = (self.clock)();
        self.keyring.token(id, now).ok_or(TokenError::Unknown)?;
        Ok(self.commit_deeds(now, vec![(Act::DropToken(id.to_owned()), Some(by))], None)?)
    }

    fn invite(&mut self, new: NewInvitation, by: String, keep: Option<Keep<Invited>>) -> Result<Invited, TokenError> {
        new.check()?;
        let now = (self.clock)();
        self.demand_first(keep.as_ref(), now)?;
        let expired = self.keyring.invitations(now, false);
        if self.keyring.invitations(now, true).len() >= MAX_INVITATIONS {
            return Err(TokenError::Limit("at most 10000 open invitations: withdraw those not needed"));
        }
        let code = InvitationCode::random().map_err(no_chance)?;
        let info = InvitationInfo {
            id: token::random_id().map_err(no_chance)?,
            domain: new.domain,
            label: new.label,
            created: now,
            expires: now.saturating_add(new.expires_in),
            token_expires_in: new.token_expires_in,
        };
        let stored = StoredInvitation { info: info.clone(), hash: code.hash() };
        let mut deeds: Vec<Deed> = expired.into_iter().map(|info| (Act::DropInvitation(info.id), None)).collect();
        deeds.push((Act::Invite(stored), Some(by)));
        let made = (info, code);
        let kept = keep.map(|keep| keep.answer(&made, now));
        self.commit_deeds(now, deeds, kept)?;
        Ok(made)
    }

    fn uninvite(&mut self, id: &str, by: String) -> Result<(), TokenError> {
        let now = (self.clock)();
        if !self.keyring.invitations(now, true).iter().any(|info| info.id == id) {
            return Err(TokenError::Unknown);
        }
        Ok(self.commit_deeds(now, vec![(Act::DropInvitation(id.to_owned()), Some(by))], None)?)
    }

    fn redeem(&mut self, hash: &[u8; 32], keep: Option<Keep<Issued>>) -> Result<Issued, TokenError> {
        let now = (self.clock)();
        self.demand_first(keep.as_ref(), now)?;
        let invitation = self.keyring.invitation(hash, now).ok_or(TokenError::Unknown)?;
        let new = NewToken {
            expires_in: invitation.token_expires_in,
            label: invitation.label.clone(),
            ..NewToken::new(Scope::Nodes(vec![invitation.domain.clone()]))
        };
        let mut deeds = self.expired_tokens(now);
        let made = self.make(new, Origin::Invitation, false, now, deeds.len())?;
        let by = Some(made.0.info.id.clone());
        deeds.push((Act::RedeemInvitation(invitation.id), by.clone()));
        deeds.push((Act::IssueToken(made.0.clone()), by));
        self.finish_token(deeds, made, keep, now)
    }

    fn apply(&mut self, application: Application, keep: Option<Keep<Issued>>) -> Result<Issued, TokenError> {
        let Application { domain, moderated, proved_key } = application;
        let now = (self.clock)();
        self.demand_first(keep.as_ref(), now)?;
        let is_taken = match &proved_key {
            // Names above and below are their own owners', who prove them too; this one may have a key already.
            Some(key) => self.has_other_key(&domain, key)?,
            None => self.is_registered_around(&domain)?,
        };
        if is_taken {
            return Err(TokenError::Taken);
        }
        let mut deeds = self.expired_tokens(now);
        let tokens = self.keyring.list(now, true);
        let self_made = tokens.iter().filter(|info| info.origin == Origin::Registration).count();
        let (touching, others): (Vec<_>, Vec<_>) =
            tokens.iter().partition(|info| info.scope.names().iter().any(|name| self.touches(name, &domain)));
        for info in touching {
            if proved_key.is_some() && info.origin == Origin::Registration {
                // Whoever shows the domain's key anew has lost the token, or wants another.
                if info.scope.names() == std::slice::from_ref(&domain) {
                    deeds.push((Act::DropToken(info.id.clone()), None));
                }
                continue;
            }
            // A name is not held for ever by whoever does nothing with it; the old token must not come back then.
            if !self.is_unused(info, now)? {
                return Err(TokenError::Taken);
            }
            deeds.push((Act::DropToken(info.id.clone()), None));
        }
        if self.keyring.invitations(now, true).iter().any(|info| self.touches(&info.domain, &domain)) {
            return Err(TokenError::Taken);
        }
        if self_made >= MAX_SELF_MADE {
            // Begins elsewhere each second, so that all are looked at in time.
            let begin = usize::try_from(now).unwrap_or(0) % others.len().max(1);
            let mut looked_at = others.iter().cycle().skip(begin).take(others.len().min(SWEEP));
            let unused = looked_at.find_map(|info| match self.is_unused(info, now) {
                Ok(false) => None,
                Ok(true) => Some(Ok(info.id.clone())),
                Err(error) => Some(Err(error)),
            });
            deeds.push((Act::DropToken(unused.ok_or(TokenError::Full)??), None));
        }
        let new = NewToken { expires_in: Some(SELF_MADE_LIFE), ..NewToken::new(Scope::Nodes(vec![domain])) };
        let made = self.make(new, Origin::Registration, moderated, now, deeds.len())?;
        let by = Some(made.0.info.id.clone());
        deeds.push((Act::IssueToken(made.0.clone()), by));
        self.finish_token(deeds, made, keep, now)
    }

    /// Whether something is registered at `domain` that another key than `key` signs, or none.
    fn has_other_key(&self, domain: &DomainName, key: &str) -> Result<bool, DirectoryError> {
        let there = self.backend.node(domain).map_err(|error| storage(&std::sync::Arc::new(error)))?;
        let is_its =
            |registered: &Registered| registered.identity.as_ref().is_some_and(|known| &*known.thumbprint == key);
        Ok(there.is_some_and(|registered| !is_its(&registered)))
    }

    /// Whether a stranger made this token more than [`UNUSED_HOLD`] ago and nothing is registered at its names.
    fn is_unused(&self, info: &TokenInfo, now: u64) -> Result<bool, DirectoryError> {
        if info.origin != Origin::Registration || info.created.saturating_add(UNUSED_HOLD) > now {
            return Ok(false);
        }
        for name in info.scope.names() {
            if self.is_registered_at_or_below(name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether `name`, which is somebody's, and `domain`, which is asked for, are one, or one is below the other. A zone's
    /// own name and those above it are everybody's roof.
    fn touches(&self, name: &DomainName, domain: &DomainName) -> bool {
        name.is_at_or_below(domain) || (domain.is_below(name) && !self.is_roof(name))
    }

    /// Whether zones served here begin at `name` or below it.
    fn is_roof(&self, name: &DomainName) -> bool {
        self.live.load().iter().any(|zone| zone.apex().is_at_or_below(name))
    }

    /// Whether anything is registered at `domain`, below it, or above it up to the zone.
    fn is_registered_around(&self, domain: &DomainName) -> Result<bool, DirectoryError> {
        let failed = |error| storage(&std::sync::Arc::new(error));
        let mut above = domain.parent();
        while let Some(name) = above.filter(|name| !self.is_roof(name)) {
            if self.backend.node(&name).map_err(failed)?.is_some() {
                return Ok(true);
            }
            above = name.parent();
        }
        self.is_registered_at_or_below(domain)
    }

    fn is_registered_at_or_below(&self, domain: &DomainName) -> Result<bool, DirectoryError> {
        let failed = |error| storage(&std::sync::Arc::new(error));
        if self.backend.node(domain).map_err(failed)?.is_some() {
            return Ok(true);
        }
        // In canonical order names below stand right behind.
        let next = self.backend.list(Some(domain), None, 1).map_err(failed)?;
        Ok(next.first().is_some_and(|registered| registered.node.domain().is_below(domain)))
    }

    fn demand_first<T>(&self, keep: Option<&Keep<T>>, now: u64) -> Result<(), TokenError> {
        if self.is_answered(keep, now)? { Err(TokenError::Repeated) } else { Ok(()) }
    }

    fn expired_tokens(&self, now: u64) -> Vec<Deed> {
        self.keyring.list(now, false).into_iter().map(|info| (Act::DropToken(info.id), None)).collect()
    }

    /// A new token, if there is room for one when `leaving` others are gone.
    fn make(
        &self,
        new: NewToken,
        origin: Origin,
        moderated: bool,
        now: u64,
        leaving: usize,
    ) -> Result<(StoredToken, TokenSecret), TokenError> {
        if self.keyring.len() - leaving >= MAX_TOKENS {
            return Err(TokenError::Limit("at most 10000 tokens: revoke those not needed"));
        }
        let secret = TokenSecret::random().map_err(no_chance)?;
        let rights = match new.scope {
            Scope::Nodes(_) => new.rights,
            Scope::Read if new.rights.contains(Right::Numbers) => Right::ALL.into_iter().collect(),
            Scope::Read | Scope::Admin => Rights::ALL,
        };
        let info = TokenInfo {
            id: token::random_id().map_err(no_chance)?,
            scope: new.scope,
            rights,
            sources: new.sources,
            label: new.label,
            origin,
            moderated,
            created: now,
            expires: new.expires_in.map(|seconds| now.saturating_add(seconds)),
            previous_until: None,
        };
        Ok((StoredToken { info, hash: secret.hash(), previous_hash: None }, secret))
    }

    fn finish_token(
        &mut self,
        deeds: Vec<Deed>,
        (token, secret): (StoredToken, TokenSecret),
        keep: Option<Keep<Issued>>,
        now: u64,
    ) -> Result<Issued, TokenError> {
        let made = (token.info, secret);
        let kept = keep.map(|keep| keep.answer(&made, now));
        self.commit_deeds(now, deeds, kept)?;
        Ok(made)
    }

    /// Makes `deeds` durable together, and then known to the keyring.
    fn commit_deeds(&mut self, now: u64, deeds: Vec<Deed>, kept: Option<StoredAnswer>) -> Result<(), DirectoryError> {
        let acts: Vec<Act> = deeds.iter().map(|(act, _)| act.clone()).collect();
        let steps = self.steps(deeds);
        let serial = steps.last().map_or(self.serial, |step| step.serial);
        self.commit(serial, now, steps, Vec::new(), kept.into_iter().collect())
            .map_err(|error| storage(&std::sync::Arc::new(error)))?;
        for act in acts {
            match act {
                Act::IssueToken(token) | Act::RotateToken(token) => self.keyring.insert(token),
                Act::DropToken(id) => self.keyring.remove(&id),
                Act::Invite(invitation) => self.keyring.invite(invitation),
                Act::DropInvitation(id) | Act::RedeemInvitation(id) => self.keyring.uninvite(&id),
                Act::Register { .. }
                | Act::Deregister { .. }
                | Act::ChangeState { .. }
                | Act::ResetKey { .. }
                | Act::LeaseEnding { .. }
                | Act::Note { .. }
                | Act::ServeZone(_)
                | Act::DropZone(_)
                | Act::KeepProof { .. }
                | Act::DropProof(_) => {}
                Act::ClaimNumber(_)
                | Act::ApproveNumber { .. }
                | Act::RejectNumber { .. }
                | Act::DelegateNumber(_)
                | Act::RevokeNumber { .. } => {}
            }
        }
        Ok(())
    }
}

fn no_chance(error: getrandom::Error) -> DirectoryError {
    DirectoryError::Storage(error.to_string().into())
}
