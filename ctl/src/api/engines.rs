//! `/vswitch/v1/engines…`.

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use vswitch_api::ErrorBody;
use vswitch_api::endpoint::Endpoint;
use vswitch_api::engine::{EngineAttach, EngineDns, EngineKey, EnginePorts, EnginePublish};

use super::App;
use super::answer::Answer;
use super::extract::{Body, Segments};
use super::orders::ClientOrder;
use crate::agent::protocol::NetnsRef;
use crate::model::{parse_engine, parse_engine_dns, parse_engine_ports, parse_engine_publish};

/// Gives the network namespace whose descriptor comes with the first bytes of this request an endpoint.
#[utoipa::path(post, path = "/vswitch/v1/engines/endpoints", request_body = EngineAttach,
    responses((status = 201, body = Endpoint), (status = "4XX", body = ErrorBody)))]
pub(super) async fn attach(
    State(app): State<App>,
    order: ClientOrder,
    Body(wire): Body<EngineAttach>,
) -> Answer<(StatusCode, Json<Endpoint>)> {
    let spec = parse_engine(wire)?;
    let endpoint = app.controller.attach_for_engine(spec, NetnsRef::Ordered(order.number()?)).await?;
    Ok((StatusCode::CREATED, Json(endpoint)))
}

/// Makes an interface in the host's network namespace, switched off and without addresses, which the engine moves into a container and
/// gives the addresses of this endpoint. Root's vswitchd alone does so.
#[utoipa::path(post, path = "/vswitch/v1/engines/interfaces", request_body = EngineAttach,
    responses((status = 201, body = Endpoint), (status = "4XX", body = ErrorBody)))]
pub(super) async fn interface(
    State(app): State<App>,
    Body(wire): Body<EngineAttach>,
) -> Answer<(StatusCode, Json<Endpoint>)> {
    let endpoint = app.controller.attach_for_engine(parse_engine(wire)?, NetnsRef::Host).await?;
    Ok((StatusCode::CREATED, Json(endpoint)))
}

/// Publishes ports of the host on an endpoint of an engine's container for as long as it exists, in the place of those before.
#[utoipa::path(put, path = "/vswitch/v1/engines/endpoints/{engine}/{container}/{interface}/ports",
    request_body = EnginePublish,
    params(("engine" = String, Path), ("container" = String, Path), ("interface" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn republish(
    State(app): State<App>,
    Segments((engine, container, interface)): Segments<(String, String, String)>,
    Body(wire): Body<EnginePublish>,
) -> Answer<StatusCode> {
    let specs = parse_engine_publish(&wire.publish)?;
    app.controller.publish_for_engine(&EngineKey { engine, container, interface }, &specs).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the endpoint of an engine's container away.
#[utoipa::path(delete, path = "/vswitch/v1/engines/endpoints/{engine}/{container}/{interface}",
    params(("engine" = String, Path), ("container" = String, Path), ("interface" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn detach(
    State(app): State<App>,
    Segments((engine, container, interface)): Segments<(String, String, String)>,
) -> Answer<StatusCode> {
    app.controller.detach_for_engine(&EngineKey { engine, container, interface }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Names who is asked for names that nobody on a network of an engine has; the network by the engine's name for it.
#[utoipa::path(put, path = "/vswitch/v1/engines/networks/{engine}/{network}/dns", request_body = EngineDns,
    params(("engine" = String, Path), ("network" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn resolvers(
    State(app): State<App>,
    Segments((engine, network)): Segments<(String, String)>,
    Body(wire): Body<EngineDns>,
) -> Answer<StatusCode> {
    app.controller.set_resolvers_of_engine(&engine, &network, parse_engine_dns(&wire.servers)?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Publishes ports of the host on an endpoint of an engine's container until the client closes the connection. The answer
/// is one line for each port, `0.0.0.0:8080->80/tcp`, then an empty one, and then nothing for as long as it holds.
#[utoipa::path(post, path = "/vswitch/v1/engines/ports", request_body = EnginePorts,
    responses((status = 200, body = String, content_type = "text/plain"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn publish(State(app): State<App>, Body(wire): Body<EnginePorts>) -> Answer<Response> {
    let lease = app.controller.lease_for_engine(parse_engine_ports(wire)?).await?;
    let mut lines: String = lease.bindings().iter().map(|binding| format!("{binding}\n")).collect();
    lines.push('\n');
    let first = futures_util::stream::once(async move { Ok::<_, std::convert::Infallible>(Bytes::from(lines)) });
    // Never ready; dropped with the connection, and the lease with it.
    let held = futures_util::stream::once(async move {
        std::future::pending::<()>().await;
        drop(lease);
        Ok(Bytes::new())
    });
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((text, HttpBody::from_stream(first.chain(held))).into_response())
}
