//! The control plane: HTTP over the control socket.

pub mod wire;
