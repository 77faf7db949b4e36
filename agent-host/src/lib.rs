//! One Kennel agent: its event loop, its sessions, its model.
