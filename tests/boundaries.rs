//! boundaries

