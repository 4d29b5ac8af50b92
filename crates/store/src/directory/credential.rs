//! The part of [`Directory`] about tokens and invitations.

use std::net::IpAddr;

use tandem_model::DomainName;

use super::{COMMIT_WAIT, Directory};
use crate::backend::StoredAnswer;
use crate::error::ReadError;
use crate::invitation::{self, InvitationCode, InvitationInfo, NewInvitation};
use crate::keep::Keep;
use crate::token::{self, Actor, NewToken, TokenError, TokenInfo, TokenSecret};
use crate::writer::Command;
use crate::writer::credential::{Application, CredentialCommand};

impl Directory {
    /// Who holds this secret and calls from `source`; `None` for an unknown, expired or revoked one, and for one that is
    /// not valid there. Constant time in the secret (API-70). The address is compared and forgotten.
    ///
    /// Costs one SHA-256 and a look at memory.
    ///
    /// # Errors
    ///
    /// None today: a backend that has to ask elsewhere may not be able to say.
    #[expect(clippy::unused_async, reason = "a backend that asks elsewhere has to wait")]
    pub async fn authenticate(&self, secret: &str, source: Option<IpAddr>) -> Result<Option<Actor>, ReadError> {
        let now = (self.inner.clock)();
        Ok(token::hash_of_claimed(secret).and_then(|hash| self.inner.keyring.find(&hash, source, now)))
    }

    /// Makes a token; the secret is given here and never again, but for the answer that is kept.
    ///
    /// # Errors
    ///
    /// [`TokenError::Limit`] when it or one more is too much; [`TokenError::Repeated`] when the answer is kept already;
    /// [`TokenError::Directory`] when it could not be written.
    pub async fn issue_token(
        &self,
        new: NewToken,
        by: &Actor,
        keep: Option<Keep<(TokenInfo, TokenSecret)>>,
    ) -> Result<(TokenInfo, TokenSecret), TokenError> {
        let by = Some(by.token_id.clone());
        self.credential(|answer| CredentialCommand::Issue { new, by, keep, answer }).await
    }

    /// Gives a token another secret. The old one is valid for `overlap` seconds more, at most
    /// [`MAX_OVERLAP`](token::MAX_OVERLAP); one from before that ends now. `expires_in` moves the token's end.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unknown`] if there is none; others as [`issue_token`](Self::issue_token).
    pub async fn rotate_token(
        &self,
        id: &str,
        overlap: u64,
        expires_in: Option<u64>,
        by: &Actor,
        keep: Option<Keep<(TokenInfo, TokenSecret)>>,
    ) -> Result<(TokenInfo, TokenSecret), TokenError> {
        let (id, by) = (id.to_owned(), by.token_id.clone());
        self.credential(|answer| CredentialCommand::Rotate { id, overlap, expires_in, by, keep, answer }).await
    }

    /// All tokens that are neither revoked nor expired, oldest first.
    ///
    /// # Errors
    ///
    /// As [`authenticate`](Self::authenticate).
    #[expect(clippy::unused_async, reason = "a backend that asks elsewhere has to wait")]
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, ReadError> {
        Ok(self.inner.keyring.list((self.inner.clock)(), true))
    }

    /// Ends a token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unknown`] if there is none; [`TokenError::Directory`] when it could not be written.
    pub async fn revoke_token(&self, id: &str, by: &Actor) -> Result<(), TokenError> {
        let (id, by) = (id.to_owned(), by.token_id.clone());
        self.credential(|answer| CredentialCommand::Revoke { id, by, answer }).await
    }

    /// Makes an invitation; its code is given here and never again, but for the answer that is kept.
    ///
    /// # Errors
    ///
    /// As [`issue_token`](Self::issue_token).
    pub async fn invite(
        &self,
        new: NewInvitation,
        by: &Actor,
        keep: Option<Keep<(InvitationInfo, InvitationCode)>>,
    ) -> Result<(InvitationInfo, InvitationCode), TokenError> {
        let by = by.token_id.clone();
        self.credential(|answer| CredentialCommand::Invite { new, by, keep, answer }).await
    }

    /// All invitations that are open, oldest first.
    ///
    /// # Errors
    ///
    /// As [`authenticate`](Self::authenticate).
    #[expect(clippy::unused_async, reason = "a backend that asks elsewhere has to wait")]
    pub async fn invitations(&self) -> Result<Vec<InvitationInfo>, ReadError> {
        Ok(self.inner.keyring.invitations((self.inner.clock)(), true))
    }

    /// Withdraws an open invitation.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unknown`] if there is none; [`TokenError::Directory`] when it could not be written.
    pub async fn withdraw_invitation(&self, id: &str, by: &Actor) -> Result<(), TokenError> {
        let (id, by) = (id.to_owned(), by.token_id.clone());
        self.credential(|answer| CredentialCommand::Uninvite { id, by, answer }).await
    }

    /// Makes the token that an invitation promises, and ends the invitation: both or neither, once.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unknown`] for a code that was used, withdrawn, expired or never given; others as
    /// [`issue_token`](Self::issue_token).
    pub async fn redeem_invitation(
        &self,
        code: &str,
        keep: Option<Keep<(TokenInfo, TokenSecret)>>,
    ) -> Result<(TokenInfo, TokenSecret), TokenError> {
        let hash = invitation::hash_of_claimed(code).ok_or(TokenError::Unknown)?;
        // A guess does not reach the writer.
        if self.inner.keyring.invitation(&hash, (self.inner.clock)()).is_none() {
            return Err(TokenError::Unknown);
        }
        self.credential(|answer| CredentialCommand::Redeem { hash, keep, answer }).await
    }

    /// Makes a token for whoever asks for `domain`; what it publishes waits for approval if it is `moderated`.
    ///
    /// The caller has seen that registration is open for this name. A name that touches somebody's is refused. It is
    /// held for a week; later only if something is registered there.
    ///
    /// # Errors
    ///
    /// [`TokenError::Taken`], [`TokenError::Full`]; others as [`issue_token`](Self::issue_token).
    pub async fn apply_for_token(
        &self,
        domain: DomainName,
        moderated: bool,
        keep: Option<Keep<(TokenInfo, TokenSecret)>>,
    ) -> Result<(TokenInfo, TokenSecret), TokenError> {
        let application = Application { domain, moderated, proved_key: None };
        self.credential(|answer| CredentialCommand::Apply { application, keep, answer }).await
    }

    /// [`apply_for_token`](Self::apply_for_token) for a domain whose owner has named `key`, by whoever has that key. The
    /// caller has seen both. A token that was given for exactly this domain in the same way ends.
    ///
    /// # Errors
    ///
    /// As [`apply_for_token`](Self::apply_for_token).
    pub async fn apply_with_proof(
        &self,
        domain: DomainName,
        key: &str,
        moderated: bool,
        keep: Option<Keep<(TokenInfo, TokenSecret)>>,
    ) -> Result<(TokenInfo, TokenSecret), TokenError> {
        let application = Application { domain, moderated, proved_key: Some(key.into()) };
        self.credential(|answer| CredentialCommand::Apply { application, keep, answer }).await
    }

    /// The answer that is kept under `lookup`, if its time is not over.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub async fn kept_answer(&self, lookup: [u8; 32]) -> Result<Option<StoredAnswer>, ReadError> {
        let now = (self.inner.clock)();
        let found = self.inner.read(move |backend| backend.answer(&lookup)).await?;
        Ok(found.filter(|answer| now < answer.expires))
    }

    async fn credential<T>(
        &self,
        command: impl FnOnce(tokio::sync::oneshot::Sender<Result<T, TokenError>>) -> CredentialCommand,
    ) -> Result<T, TokenError> {
        self.inner.ask(COMMIT_WAIT, |answer| Command::Credential(command(answer))).await
    }
}
