#![allow(clippy::unwrap_used)]

use super::*;
use crate::identity::key_ring::SigningKey;
use crate::identity::{Caller, Proof, Scope};

const NOW: u64 = 1_800_000_000;

fn key(id: &str, byte: char) -> SigningKey {
    let secret = URL_SAFE_NO_PAD.encode(byte.to_string().repeat(32));
    format!("{id}:{secret}").parse().unwrap()
}

fn ring(keys: Vec<SigningKey>) -> KeyRing {
    KeyRing::new(keys, Duration::from_secs(300), Duration::from_secs(30))
}

fn someone() -> Identity {
    Identity {
        tenant_id: Uuid::from_u128(7),
        subject: "key:42".to_owned(),
        scopes: Scopes::from_iter([Scope::Read, Scope::Write]),
    }
}

fn token(ring: &KeyRing, now: u64) -> String {
    let sealed = ring.seal(&someone(), now);
    sealed.header.to_str().unwrap().to_owned()
}

#[test]
fn a_token_says_who_calls_for_five_minutes() {
    let ring = ring(vec![key("a", 'a')]);
    let token = token(&ring, NOW);
    for at in [NOW - 30, NOW, NOW + 299, NOW + 329] {
        assert_eq!(ring.open(&token, at).unwrap().identity, someone());
    }
    let late = ring.open(&token, NOW + 330).unwrap_err();
    assert_eq!(late, TokenError::Expired { ago_secs: 30 });
    let early = ring.open(&token, NOW - 31).unwrap_err();
    assert_eq!(early, TokenError::NotYetValid { ahead_secs: 31 });
}

#[test]
fn a_token_is_a_standard_one() {
    let ring = ring(vec![key("a", 'a')]);
    let token = token(&ring, NOW);
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let read = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(
        read(parts[0]),
        serde_json::json!({"alg": "HS256", "kid": "a", "typ": "JWT"})
    );
    let claims = read(parts[1]);
    assert_eq!(claims["scope"], "read write");
    assert_eq!(claims["exp"], NOW + 300);
    // RFC 4231's HMAC, by another implementation than the one that signs
    let verify = hmac::Key::new(hmac::HMAC_SHA256, "a".repeat(32).as_bytes());
    let mac = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    let signed = format!("{}.{}", parts[0], parts[1]);
    hmac::verify(&verify, signed.as_bytes(), &mac).unwrap();
}

#[test]
fn no_changed_token_is_believed() {
    let ring = ring(vec![key("a", 'a')]);
    let token = token(&ring, NOW);
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(ring.open(&changed, NOW).is_err(), "{changed}");
        assert!(ring.open(&token[..at], NOW).is_err(), "{}", &token[..at]);
    }
    // "none" and other algorithms are no header of ours
    let claims = token.split('.').nth(1).unwrap();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"none","kid":"a","typ":"JWT"}"#,
    ] {
        let forged = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(header));
        assert!(ring.open(&forged, NOW).is_err(), "{header}");
    }
    assert_eq!(
        ring.open(&"x".repeat(5000), NOW).unwrap_err(),
        TokenError::Malformed
    );
}

#[test]
fn keys_are_rotated_in_three_steps_without_a_refusal() {
    let steps = [
        vec![key("old", 'o')],
        vec![key("old", 'o'), key("new", 'n')],
        vec![key("new", 'n'), key("old", 'o')],
        vec![key("new", 'n')],
    ];
    // at any moment two processes are at most one step apart
    for pair in steps.windows(2) {
        for (from, to) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
            let token = token(&ring(pair[from].clone()), NOW);
            ring(pair[to].clone()).open(&token, NOW).unwrap();
        }
    }
    let stranger = token(&ring(vec![key("old", 'o')]), NOW);
    let refused = ring(vec![key("new", 'n')]).open(&stranger, NOW);
    let unknown = TokenError::UnknownKey {
        key_id: "old".to_owned(),
    };
    assert_eq!(refused.unwrap_err(), unknown);
    // the same id with another secret
    let forged = ring(vec![key("new", 'x')]);
    let refused = ring(vec![key("new", 'n')]).open(&token(&forged, NOW), NOW);
    assert_eq!(refused.unwrap_err(), TokenError::BadSignature);
}

#[test]
fn a_token_is_passed_on_rather_than_made_again() {
    let ring = ring(vec![key("a", 'a')]);
    let caller = Caller::new(someone(), Proof::ApiKey);
    let first = ring.token(Some(&caller));
    assert_eq!(ring.token(Some(&caller)), first);
    let token = first.to_str().unwrap().to_owned();
    let received = ring.verify(&token).unwrap();
    assert_eq!(received.identity(), caller.identity());
    assert_eq!(received.proof(), Proof::Token);
    assert_eq!(ring.token(Some(&received)), first);
    // the second time it is remembered, and what is remembered is never shown
    let again = ring.verify(&token).unwrap();
    assert_eq!(again.identity(), caller.identity());
    let shown = format!("{ring:?} {received:?} {caller:?}");
    assert!(!shown.contains(&token), "{shown}");
    // it means something to its own ring only
    let mut changed = token.clone();
    changed.replace_range(token.len() - 6..token.len() - 5, "-");
    assert!(changed == token || ring.verify(&changed).is_err());
    // for nobody, the process itself calls, without a tenant
    let nobody = ring.token(None);
    let nobody = nobody.to_str().unwrap().to_owned();
    assert!(ring.verify(&nobody).unwrap().identity().tenant_id.is_nil());
}
