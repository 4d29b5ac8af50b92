//! The system calls that neither std nor socket2 offers: recvmmsg, sendmmsg, and a few socket options. The only unsafe code.
//!
//! [`Batch`] owns one block of [`Slot`]s on the heap and two arrays of message headers that point into it. Why this is
//! sound, for all of it:
//!
//! - The block is allocated once in [`Batch::new`], never moves, and is freed in `drop`. Every pointer to it, those
//!   in the headers and those behind the references that are handed out, comes from the one pointer `slots`.
//! - The kernel writes through the headers only during `recvmmsg`, and reads only during `sendmmsg`. Both are called in
//!   methods that hold `&mut self`, so no reference handed out by [`Batch::message`] lives then.
//! - Lengths in the headers are those of the fields they point to, and are set again before each `recvmmsg`.
//! - All fields of a slot are plain octets and numbers, for which any bit pattern, all zero too, is valid.

#![expect(unsafe_code, reason = "recvmmsg and sendmmsg have no safe form; the argument is in the header")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{NonNull, null_mut};

use libc::{
    c_int, c_uint, c_void, cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr, sockaddr_in, sockaddr_in6,
    sockaddr_storage, socklen_t,
};

use crate::batch::Messages;
use crate::respond::LEAST_BUFFER;

/// Datagrams in one system call. More gains little (the kernel's work for each is the same), less costs calls.
pub(crate) const BATCH: usize = 64;

/// Octets for one IP_PKTINFO or IPV6_PKTINFO message with room to spare.
const CONTROL: usize = 64;

/// Where the data of a control message begins: behind its header, which is a multiple of the alignment.
const CONTROL_DATA: usize = size_of::<cmsghdr>();
const _: () = assert!(CONTROL_DATA.is_multiple_of(size_of::<usize>()));

/// One datagram: who sent it, to which of our addresses, and its octets; the answer takes their place.
#[repr(C)]
struct Slot {
    vector: iovec,
    control: [u8; CONTROL],
    peer: sockaddr_storage,
    data: [u8; LEAST_BUFFER],
}

// The kernel writes control messages as structures.
const _: () = assert!(offset_of!(Slot, control).is_multiple_of(align_of::<cmsghdr>()));

/// Buffers for one batch of datagrams and their answers.
pub(crate) struct Batch {
    slots: NonNull<Slot>,
    incoming: Box<[mmsghdr]>,
    outgoing: Box<[mmsghdr]>,
    received: usize,
    /// Headers from the first on that the kernel may have changed.
    touched: usize,
    replies: usize,
}

impl Batch {
    /// Allocates the buffers: all that a UDP thread ever allocates.
    pub(crate) fn new() -> Self {
        let layout = Self::layout();
        // SAFETY: the layout is not of size zero; all zero is a valid `Slot`.
        let Some(slots) = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<Slot>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: all zero is a valid `mmsghdr`: numbers and null pointers.
        let headers = || -> Box<[mmsghdr]> { (0..BATCH).map(|_| unsafe { zeroed() }).collect() };
        let mut batch =
            Self { slots, incoming: headers(), outgoing: headers(), received: 0, touched: BATCH, replies: 0 };
        for (index, header) in batch.incoming.iter_mut().enumerate() {
            // SAFETY: `index` is below BATCH, so the place is inside the block; only addresses are taken, through no
            // reference.
            unsafe {
                let slot = slots.as_ptr().add(index);
                (*slot).vector.iov_base = (&raw mut (*slot).data).cast::<c_void>();
                header.msg_hdr.msg_name = (&raw mut (*slot).peer).cast::<c_void>();
                header.msg_hdr.msg_iov = &raw mut (*slot).vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = (&raw mut (*slot).control).cast::<c_void>();
            }
        }
        batch
    }

    /// Receives up to [`BATCH`] datagrams: waits for the first if `wait`, as long as the socket's read limit allows.
    ///
    /// # Errors
    ///
    /// As recvmmsg(2) has them; `WouldBlock` when the time is over.
    pub(crate) fn receive(&mut self, socket: &impl AsFd, wait: bool) -> io::Result<usize> {
        // The kernel has changed the lengths of those that the last call filled.
        for index in 0..self.touched {
            let header = &mut self.incoming[index].msg_hdr;
            header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
            // SAFETY: `index` is at most BATCH; the field is a number.
            unsafe { (*self.slots.as_ptr().add(index)).vector.iov_len = LEAST_BUFFER };
        }
        (self.received, self.touched, self.replies) = (0, 1, 0);
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: see the header of this file; no timeout is given.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.incoming.as_mut_ptr(),
                BATCH as c_uint,
                flags as _,
                null_mut(),
            )
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.touched = self.received;
        Ok(self.received)
    }

    /// Sends the queued answers; how many the system refused. One bad destination, or a full queue (ENOBUFS, EPERM of
    /// a firewall), loses that answer and no other.
    pub(crate) fn send(&mut self, socket: &impl AsFd) -> u64 {
        let (mut next, mut refused) = (0, 0);
        while next < self.replies {
            let rest = &mut self.outgoing[next..self.replies];
            // SAFETY: see the header of this file; the count is that of `rest`.
            let count =
                unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), rest.as_mut_ptr(), rest.len() as c_uint, 0) };
            match usize::try_from(count) {
                Ok(count) if count > 0 => next += count,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    next += 1;
                    refused += 1;
                }
            }
        }
        self.replies = 0;
        refused
    }

    /// Address and port that datagram `index` came from.
    ///
    /// # Panics
    ///
    /// If the last [`receive`](Self::receive) did not give that many.
    pub(crate) fn sender_address(&self, index: usize) -> SocketAddr {
        assert!(index < self.received, "datagram {index} of {}", self.received);
        // SAFETY: as in `sender`.
        unsafe {
            let peer = &raw const (*self.slots.as_ptr().add(index)).peer;
            if c_int::from((*peer).ss_family) == libc::AF_INET6 {
                let peer = peer.cast::<sockaddr_in6>();
                let (port, scope) = (u16::from_be((*peer).sin6_port), (*peer).sin6_scope_id);
                SocketAddrV6::new((*peer).sin6_addr.s6_addr.into(), port, 0, scope).into()
            } else {
                let peer = peer.cast::<sockaddr_in>();
                let address = Ipv4Addr::from((*peer).sin_addr.s_addr.to_ne_bytes());
                SocketAddr::new(address.into(), u16::from_be((*peer).sin_port))
            }
        }
    }

    const fn layout() -> Layout {
        match Layout::array::<Slot>(BATCH) {
            Ok(layout) => layout,
            Err(_) => panic!("a batch is far smaller than the address space"),
        }
    }
}

impl Messages for Batch {
    fn count(&self) -> usize {
        self.received
    }

    /// The buffer of datagram `index`, and how many octets came.
    ///
    /// # Panics
    ///
    /// If the last [`receive`](Self::receive) did not give that many.
    fn message(&mut self, index: usize) -> (&mut [u8], usize) {
        assert!(index < self.received, "datagram {index} of {}", self.received);
        let len = (self.incoming[index].msg_len as usize).min(LEAST_BUFFER);
        // SAFETY: inside the block; the reference borrows `self` mutably, so it is the only one.
        let data = unsafe { &mut (*self.slots.as_ptr().add(index)).data };
        (data, len)
    }

    /// The address that datagram `index` came from.
    ///
    /// # Panics
    ///
    /// If the last [`receive`](Self::receive) did not give that many.
    fn sender(&self, index: usize) -> IpAddr {
        assert!(index < self.received, "datagram {index} of {}", self.received);
        // SAFETY: inside the block; no reference to the slot is alive that could write, for `self` is borrowed, and a
        // `sockaddr_storage` is at least as large and as aligned as both forms, whose fields are plain numbers.
        unsafe {
            let peer = &raw const (*self.slots.as_ptr().add(index)).peer;
            if c_int::from((*peer).ss_family) == libc::AF_INET6 {
                Ipv6Addr::from((*peer.cast::<sockaddr_in6>()).sin6_addr.s6_addr).into()
            } else {
                Ipv4Addr::from((*peer.cast::<sockaddr_in>()).sin_addr.s_addr.to_ne_bytes()).into()
            }
        }
    }

    /// Queues the first `len` octets of the buffer of datagram `index` as its answer.
    ///
    /// # Panics
    ///
    /// If there is no such datagram, or `len` is more than the buffer has.
    fn reply(&mut self, index: usize, len: usize) {
        assert!(index < self.received && len <= LEAST_BUFFER && self.replies < BATCH, "answer {index} of {len} octets");
        let header = self.incoming[index];
        // SAFETY: inside the block; no reference to the slot is alive, for `self` is borrowed mutably.
        let slot = unsafe { &mut *self.slots.as_ptr().add(index) };
        slot.vector.iov_len = len;
        if header.msg_hdr.msg_controllen >= CONTROL_DATA {
            leave_route_open(&mut slot.control);
        }
        self.outgoing[self.replies] = header;
        self.replies += 1;
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, and freed only here; slots have no destructor.
        unsafe { dealloc(self.slots.as_ptr().cast::<u8>(), Self::layout()) };
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("received", &self.received)
            .field("replies", &self.replies)
            .finish_non_exhaustive()
    }
}

/// Sets an integer socket option.
///
/// # Errors
///
/// As setsockopt(2) has them.
pub(crate) fn set_option(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer is to a live integer of the size that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the local address of a received packet-info message as the source of the answer, and takes the interface out,
/// so that the routing table chooses the way back; link-local addresses mean nothing without their interface.
fn leave_route_open(octets: &mut [u8; CONTROL]) {
    let int_at = |octets: &[u8], at: usize| {
        let mut int = [0; size_of::<c_int>()];
        int.copy_from_slice(&octets[at..at + size_of::<c_int>()]);
        c_int::from_ne_bytes(int)
    };
    let level = int_at(octets, offset_of!(cmsghdr, cmsg_level));
    let kind = int_at(octets, offset_of!(cmsghdr, cmsg_type));
    let index_at = match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => CONTROL_DATA + offset_of!(in_pktinfo, ipi_ifindex),
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let address = CONTROL_DATA + offset_of!(in6_pktinfo, ipi6_addr);
            if octets[address] == 0xfe && octets[address + 1] & 0xc0 == 0x80 {
                return;
            }
            CONTROL_DATA + offset_of!(in6_pktinfo, ipi6_ifindex)
        }
        _ => return,
    };
    octets[index_at..index_at + size_of::<c_int>()].fill(0);
}
