//! Version 1 of what leaves and enters the process: bodies of their own, so that renaming a field inside the
//! program changes nothing outside (API-2).

pub(crate) mod answer;
pub(crate) mod audit;
pub(crate) mod change;
pub(crate) mod document;
pub(crate) mod import;
pub(crate) mod invitation;
pub(crate) mod life;
pub(crate) mod member;
pub(crate) mod number;
pub(crate) mod probe;
pub(crate) mod proof;
pub(crate) mod reader;
pub(crate) mod registration;
pub(crate) mod reload;
pub(crate) mod token;
