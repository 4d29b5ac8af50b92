//! Names below a DNAME: the record, and the CNAME that it makes of the name asked for (RFC 6672 3, DNS-26).

use tandem_zone::{QueryName, RdataSink, Rrset};

use crate::answer::{MAX_ALIASES, RECORD_HEAD};
use crate::writer::{DoesNotFit, Owner, Section, Writer};

/// Most octets of a name (RFC 1035 3.1).
const MAX_NAME: usize = 255;

/// The DNAME records that one answer has already: a chain that comes by twice does not repeat them.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    /// Where the owner of each stands in the message, and its octets.
    owners: [(usize, usize); MAX_ALIASES],
    count: usize,
}

impl Redirects {
    /// Writes `dname`, whose owner is the last `owner_len` octets of `name`, and the CNAME that it makes. `name` stands in
    /// the message, whole, at the place that comes with it.
    ///
    /// Gives the place of the CNAME's target, which stands whole, too; `None` if that would be longer than a name can be:
    /// then the answer is YXDOMAIN (RFC 6672 3.2).
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`]: the answer becomes a truncated one.
    pub(crate) fn write(
        &mut self,
        dname: &Rrset<'_>,
        owner_len: usize,
        (name, name_at): (&QueryName, usize),
        writer: &mut Writer<'_>,
    ) -> Result<Option<usize>, DoesNotFit> {
        let kept = name.wire_len() - owner_len;
        let owner_at = name_at + kept;
        let at = |at: usize, len: usize| &writer.written_from(at)[..len];
        let is_owner = |&(other, len): &(usize, usize)| {
            len == owner_len && at(other, len).eq_ignore_ascii_case(at(owner_at, owner_len))
        };
        let is_there = self.owners[..self.count].iter().any(is_owner);
        let mut target = Target { octets: [0; MAX_NAME], len: 0, is_whole: true };
        // From the message, so that the labels asked for keep their case.
        target.put(at(name_at, kept));
        if let Some(rdata) = dname.rdatas().next() {
            rdata.write(&mut target);
        }
        if !is_there {
            writer.rrset(Section::Answer, Owner::At(owner_at), dname)?;
            self.owners[self.count] = (owner_at, owner_len);
            self.count += 1;
        }
        if !target.is_whole {
            return Ok(None);
        }
        let target_at = writer.position() + RECORD_HEAD;
        writer.rrset(Section::Answer, Owner::At(name_at), &dname.redirected(&target.octets[..target.len]))?;
        Ok(Some(target_at))
    }
}

/// A name being put together.
struct Target {
    octets: [u8; MAX_NAME],
    len: usize,
    /// Whether all of it fitted.
    is_whole: bool,
}

impl RdataSink for Target {
    fn put(&mut self, octets: &[u8]) {
        match self.octets.get_mut(self.len..self.len + octets.len()) {
            Some(to) => {
                to.copy_from_slice(octets);
                self.len += octets.len();
            }
            None => self.is_whole = false,
        }
    }
}
