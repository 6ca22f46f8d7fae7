//! What a device keeps on its disks, and the order in which it gets there.

pub mod disk;
pub mod error;
pub mod mem_disk;
pub mod os_disk;
