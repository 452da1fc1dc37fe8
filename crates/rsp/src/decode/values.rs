//! Messages as JSON values: each field by its name, identifiers and octets in hexadecimal digits.

use rserpool::wire::csp::{Association, Report};
use rserpool::wire::enrp::{Body, UpdateAction};
use rserpool::wire::parameter::{
    CauseCode, ErrorCause, PoolElement, ServerInformation, Transport, TransportUse,
};
use rserpool::wire::{Parsed, Skipped, asap, enrp};
use rserpool::{ElementId, Policy, PoolHandle};
use serde_json::{Map, Value, json};

/// An ASAP message: `message`, `type`, its fields, `skipped` and `octets`.
pub fn asap(parsed: &Parsed<asap::Message>) -> Map<String, Value> {
    use asap::Message as M;
    let named = |pool: &PoolHandle| pool.to_string();
    let entry = |handle: &PoolHandle, id: &ElementId| json!({ "pool_handle": handle.to_string(), "pe_identifier": id.to_string() });
    let (name, fields) = match &parsed.message {
        M::Registration { handle, element } => (
            "ASAP_REGISTRATION",
            json!({ "pool_handle": named(handle), "pool_element": pool_element(element) }),
        ),
        M::Deregistration { handle, element } => ("ASAP_DEREGISTRATION", entry(handle, element)),
        M::RegistrationResponse { rejected, handle, element, causes } => {
            let mut fields = json!({ "rejected": rejected });
            extend(&mut fields, entry(handle, element));
            extend(&mut fields, operation_error(causes));
            ("ASAP_REGISTRATION_RESPONSE", fields)
        }
        M::DeregistrationResponse { handle, element, causes } => {
            let mut fields = entry(handle, element);
            extend(&mut fields, operation_error(causes));
            ("ASAP_DEREGISTRATION_RESPONSE", fields)
        }
        M::HandleResolution { subscribe, handle, items } => (
            "ASAP_HANDLE_RESOLUTION",
            json!({ "subscribe": subscribe, "pool_handle": named(handle), "items": items }),
        ),
        M::HandleResolutionResponse { accepted, handle, answer } => {
            let mut fields = json!({ "accepted": accepted, "pool_handle": named(handle) });
            let answer = match answer {
                asap::Resolution::Elements { policy: chosen, elements } => json!({
                    "policy": chosen.as_ref().map(policy),
                    "pool_elements": pool_elements(elements),
                }),
                asap::Resolution::Failed { causes } => operation_error(causes),
            };
            extend(&mut fields, answer);
            ("ASAP_HANDLE_RESOLUTION_RESPONSE", fields)
        }
        M::EndpointKeepAlive { home, server, handle, element } => (
            "ASAP_ENDPOINT_KEEP_ALIVE",
            json!({
                "home": home,
                "server_identifier": server.to_string(),
                "pool_handle": named(handle),
                "pe_identifier": element.map(|id| id.to_string()),
            }),
        ),
        M::EndpointKeepAliveAck { handle, element } => {
            ("ASAP_ENDPOINT_KEEP_ALIVE_ACK", entry(handle, element))
        }
        M::EndpointUnreachable { handle, element } => ("ASAP_ENDPOINT_UNREACHABLE", entry(handle, element)),
        M::ServerAnnounce { server, transports } => (
            "ASAP_SERVER_ANNOUNCE",
            json!({
                "server_identifier": server.to_string(),
                "transports": transports.iter().map(transport).collect::<Vec<_>>(),
            }),
        ),
        M::Cookie { cookie } => ("ASAP_COOKIE", json!({ "cookie": hex(cookie) })),
        M::CookieEcho { cookie } => ("ASAP_COOKIE_ECHO", json!({ "cookie": hex(cookie) })),
        M::BusinessCard { handle, elements } => (
            "ASAP_BUSINESS_CARD",
            json!({ "pool_handle": named(handle), "pool_elements": pool_elements(elements) }),
        ),
        M::Error { causes } => ("ASAP_ERROR", operation_error(causes)),
        M::PoolList { handle, after } => (
            "POOL_LIST",
            json!({
                "pool_handle": handle.as_ref().map(named),
                "after": after.as_ref().map(|(handle, id)| entry(handle, id)),
            }),
        ),
        M::PoolListResponse { more, server, pools: listed } => (
            "POOL_LIST_RESPONSE",
            json!({ "more": more, "server_identifier": server.to_string(), "pools": pools(listed) }),
        ),
    };
    whole(name, fields, &parsed.skipped, &parsed.emit())
}

/// An ENRP message: `message`, `type`, who to whom, its fields, `skipped` and `octets`.
pub fn enrp(parsed: &Parsed<enrp::Message>) -> Map<String, Value> {
    let target = |id: &rserpool::RegistrarId| json!({ "target_identifier": id.to_string() });
    let (name, fields) = match &parsed.message.body {
        Body::Presence { reply_required, checksum, server } => (
            "ENRP_PRESENCE",
            json!({
                "reply_required": reply_required,
                "pe_checksum": checksum.map(|checksum| format!("{checksum:04x}")),
                "server_information": server.as_ref().map(server_information),
            }),
        ),
        Body::HandleTableRequest { own_only } => {
            ("ENRP_HANDLE_TABLE_REQUEST", json!({ "own_only": own_only }))
        }
        Body::HandleTableResponse { rejected, more, pools: listed } => (
            "ENRP_HANDLE_TABLE_RESPONSE",
            json!({ "rejected": rejected, "more": more, "pools": pools(listed) }),
        ),
        Body::HandleUpdate { takeover_suggested, action, handle, element } => (
            "ENRP_HANDLE_UPDATE",
            json!({
                "takeover_suggested": takeover_suggested,
                "update_action": match action {
                    UpdateAction::Add => json!("add"),
                    UpdateAction::Delete => json!("delete"),
                    UpdateAction::Other(code) => json!(code),
                },
                "pool_handle": handle.to_string(),
                "pool_element": pool_element(element),
            }),
        ),
        Body::ListRequest => ("ENRP_LIST_REQUEST", json!({})),
        Body::ListResponse { rejected, servers } => (
            "ENRP_LIST_RESPONSE",
            json!({
                "rejected": rejected,
                "servers": servers.iter().map(server_information).collect::<Vec<_>>(),
            }),
        ),
        Body::InitTakeover { target: id } => ("ENRP_INIT_TAKEOVER", target(id)),
        Body::InitTakeoverAck { target: id } => ("ENRP_INIT_TAKEOVER_ACK", target(id)),
        Body::TakeoverServer { target: id } => ("ENRP_TAKEOVER_SERVER", target(id)),
        Body::Error { causes } => ("ENRP_ERROR", operation_error(causes)),
    };
    let mut all = json!({
        "sender_identifier": parsed.message.sender.to_string(),
        "receiver_identifier": parsed.message.receiver.to_string(),
    });
    extend(&mut all, fields);
    whole(name, all, &parsed.skipped, &parsed.emit())
}

/// A status report.
pub fn csp(report: &Report) -> Map<String, Value> {
    let association = |association: &Association| {
        json!({
            "receiver_identifier": format!("{:016x}", association.receiver.0),
            "receiver": association.receiver.to_string(),
            "duration_us": association.duration,
            "flags": association.flags,
            "protocol": association.protocol,
            "ppid": association.ppid.0,
        })
    };
    let fields = json!({
        "final": report.last,
        "sender_identifier": format!("{:016x}", report.sender.0),
        "sender": report.sender.to_string(),
        "timestamp_us": report.timestamp,
        "interval_us": report.interval,
        "location": report.location.to_string(),
        "status": report.status.to_string(),
        "workload": report.workload.0,
        "workload_fraction": report.workload.fraction(),
        "associations": report.associations.iter().map(association).collect::<Vec<_>>(),
    });
    whole("CSP_REPORT", fields, &[], &report.emit())
}

/// The frame around the fields of every message.
fn whole(name: &str, fields: Value, skipped: &[Skipped], octets: &[u8]) -> Map<String, Value> {
    let stranger = |skipped: &Skipped| {
        json!({
            "place": skipped.place,
            "type": hex16(skipped.kind()),
            "report": skipped.wants_report(),
            "parameter": hex(&skipped.octets),
        })
    };
    let mut all = Map::new();
    all.insert("message".into(), name.into());
    all.insert("type".into(), json!(octets.first()));
    if let Value::Object(fields) = fields {
        all.extend(fields);
    }
    all.insert("skipped".into(), skipped.iter().map(stranger).collect());
    all.insert("octets".into(), hex(octets).into());
    all
}

fn pools(pools: &[(PoolHandle, Vec<PoolElement>)]) -> Value {
    let pool = |(handle, elements): &(PoolHandle, Vec<PoolElement>)| json!({ "pool_handle": handle.to_string(), "pool_elements": pool_elements(elements) });
    pools.iter().map(pool).collect()
}

fn pool_elements(elements: &[PoolElement]) -> Value {
    elements.iter().map(pool_element).collect()
}

fn pool_element(element: &PoolElement) -> Value {
    json!({
        "pe_identifier": element.id.to_string(),
        "home_identifier": element.home.to_string(),
        "life_ms": element.life.0,
        "user_transport": transport(&element.user_transport),
        "policy": policy(&element.policy),
        "asap_transport": element.asap_transport.as_ref().map(transport),
        "asap_tcp": element.asap_tcp.map(|at| json!({ "port": at.port(), "address": at.ip().to_string() })),
    })
}

fn server_information(server: &ServerInformation) -> Value {
    json!({ "server_identifier": server.id.to_string(), "transport": transport(&server.transport) })
}

fn transport(transport: &Transport) -> Value {
    let used = |transport_use: &TransportUse| match transport_use {
        TransportUse::Data => "data",
        TransportUse::DataAndControl => "data-and-control",
    };
    match transport {
        Transport::Dccp { port, service_code, address } => {
            json!({ "type": "dccp", "port": port, "service_code": service_code, "addresses": [address] })
        }
        Transport::Sctp { port, transport_use, addresses } => {
            json!({ "type": "sctp", "port": port, "use": used(transport_use), "addresses": addresses })
        }
        Transport::Tcp { port, transport_use, address } => {
            json!({ "type": "tcp", "port": port, "use": used(transport_use), "addresses": [address] })
        }
        Transport::Udp { port, address } => json!({ "type": "udp", "port": port, "addresses": [address] }),
        Transport::UdpLite { port, address } => {
            json!({ "type": "udp-lite", "port": port, "addresses": [address] })
        }
        Transport::Opaque(octets) => json!({ "type": "opaque", "octets": hex(octets) }),
    }
}

/// The policy's words by name, as they are on the wire.
fn policy(policy: &Policy) -> Value {
    let mut fields = Map::new();
    fields.insert("type".into(), format!("0x{:08x}", policy.code()).into());
    fields.insert("name".into(), policy.name().into());
    for (parameter, word) in policy.parameters() {
        fields.insert(parameter.name().into(), word.into());
    }
    if let Policy::Other { data, .. } = policy {
        fields.insert("data".into(), hex(data).into());
    }
    fields.into()
}

fn operation_error(causes: &[ErrorCause]) -> Value {
    json!({ "operation_error": causes.iter().map(cause).collect::<Vec<_>>() })
}

/// One error cause. Codes that RFC 5354 does not define have no name.
pub fn cause(cause: &ErrorCause) -> Value {
    let name = match cause.code {
        CauseCode::UNSPECIFIED => Some("unspecified"),
        CauseCode::UNRECOGNIZED_PARAMETER => Some("unrecognized-parameter"),
        CauseCode::UNRECOGNIZED_MESSAGE => Some("unrecognized-message"),
        CauseCode::INVALID_VALUES => Some("invalid-values"),
        CauseCode::NON_UNIQUE_ELEMENT_ID => Some("non-unique-pe-identifier"),
        CauseCode::INCONSISTENT_POLICY => Some("inconsistent-policy"),
        CauseCode::LACK_OF_RESOURCES => Some("lack-of-resources"),
        CauseCode::INCONSISTENT_TRANSPORT => Some("inconsistent-transport"),
        CauseCode::INCONSISTENT_DATA_CONTROL => Some("inconsistent-data-control"),
        CauseCode::UNKNOWN_POOL_HANDLE => Some("unknown-pool-handle"),
        CauseCode::SECURITY => Some("security"),
        _ => None,
    };
    json!({ "code": cause.code.0, "name": name, "info": hex(&cause.info) })
}

/// Two lower case digits for each octet.
pub fn hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    octets.iter().flat_map(|&octet| [digit(octet >> 4), digit(octet & 0x0f)]).collect()
}

/// A parameter type: `0x0009`.
pub fn hex16(kind: u16) -> String {
    format!("{kind:#06x}")
}

/// Adds the fields of one object to another.
pub fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
