//! QUERY_HCA_CAP and SET_HCA_CAP.

use super::super::Mlx5;
use super::super::caps::GENERAL;
use super::super::cmd::Request;
use super::super::plane::Status;
use super::hca::Stage;
use super::{Answer, Reply};

/// The modifier has the type, and whether it is about what is in force.
pub fn query(card: &mut Mlx5, request: &Request) -> Answer {
    let (kind, current) = (request.modifier() >> 1, request.modifier() & 1 == 1);
    if !card.caps.has(kind) {
        return Err(Status::BAD_OPERATION);
    }
    let bytes = if current { card.caps.current(kind) } else { card.caps.most(kind) };
    let shown = if card.hca.issi { bytes.to_vec() } else { card.caps.veiled(kind, bytes) };
    Ok(Reply::of(&shown))
}

/// Before INIT_HCA. Of types but the general one nothing is kept.
pub fn set(card: &mut Mlx5, request: &Request) -> Answer {
    let kind = request.modifier() >> 1;
    if card.dirty() || card.stage() == Stage::Running {
        return Err(Status::BAD_SYSTEM_STATE);
    }
    if !card.caps.has(kind) {
        return Err(Status::BAD_OPERATION);
    }
    if kind == GENERAL {
        card.caps.change(request.rest(0x10), !card.hca.issi).map_err(|_| Status::BAD_PARAMETER)?;
        card.set_limits();
    }
    Ok(Reply::done())
}
