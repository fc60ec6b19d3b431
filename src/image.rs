//! What FROM resolves to: digest, platform and configuration of base images, read from files that the user names.
//! The network is never asked.

pub mod reference;
