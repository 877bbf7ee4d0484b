//! Users: which there are, made, given another password, dropped.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use counterpart_access::Password;
use counterpart_node::{
    Operations,
    system::{NewUser, UserSummary},
};
use serde::Serialize;

use super::{Answer, DONE, Done, granted};
use crate::{
    body::{json as read, to_the_end},
    note::Note,
    problem::Problem,
    wire,
};

#[derive(Serialize)]
pub struct Users {
    users: Vec<UserSummary>,
}

/// The part of a path that names a user.
type NamePart = Result<Path<String>, PathRejection>;

fn named(part: NamePart) -> Result<String, Problem> {
    let path =
        part.map_err(|rejection| Problem::path(&rejection, "write the user's name as it is"));
    path.map(|Path(name)| name)
}

fn password(text: String) -> Result<Password, Problem> {
    Password::new(text).map_err(|error| {
        Problem::new("USER_INVALID", error.to_string(), "choose a sentence that nobody else says")
    })
}

pub async fn list<O: Operations>(State(ops): State<Arc<O>>) -> Answer<Users> {
    Ok(Json(Users { users: ops.users().await? }))
}

pub async fn create<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Result<(StatusCode, Json<Done>), Problem> {
    let request: wire::NewUser = read(body).await?;
    note.about(format!("{} ({})", request.name, request.role));
    let grant = granted("USER_INVALID", &request.role, request.databases.as_deref())?;
    let new = NewUser { name: request.name, grant, password: password(request.password)? };
    to_the_end(async move { Ok(ops.create_user(new).await?) }).await?;
    Ok((StatusCode::CREATED, DONE))
}

pub async fn set_password<O: Operations>(
    State(ops): State<Arc<O>>,
    part: NamePart,
    body: Body,
) -> Answer<Done> {
    let name = named(part)?;
    let request: wire::NewPassword = read(body).await?;
    let password = password(request.password)?;
    to_the_end(async move { Ok(ops.set_password(name, password).await?) }).await?;
    Ok(DONE)
}

pub async fn drop_one<O: Operations>(State(ops): State<Arc<O>>, part: NamePart) -> Answer<Done> {
    let name = named(part)?;
    to_the_end(async move { Ok(ops.drop_user(name).await?) }).await?;
    Ok(DONE)
}
