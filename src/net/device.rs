//! A device's own key: what a server knows a client by without a password.
//!
//! The client signs the TLS connection's channel binding (RFC 9266) with an Ed25519 key that never
//! leaves the device. The signature is good on this very connection only: a server that is shown it
//! can show it to no other server.

use super::secret::{NoRandomness, Secret};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Label of the exporter that binds a proof to its connection (RFC 9266, section 4.2).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// What a proof begins with, so that no other signature can pass for one.
const CONTEXT: &[u8] = b"parlor device proof v1\0";

/// What binds a proof to one TLS connection: 32 bytes of its exporter.
pub type ChannelBinding = Secret<32>;

/// The public half: what a server remembers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId(pub [u8; 32]);

/// The private half. `Debug` shows none of it.
#[derive(Clone)]
pub struct DeviceKey(Arc<Ed25519KeyPair>);

/// "This connection's client holds this key."
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceProof {
    /// The public key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
    /// Ed25519 over the context and the channel binding.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
}

/// A seed that makes no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device key is damaged")]
pub struct BadKey;

impl DeviceKey {
    /// A seed for a new key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn fresh_seed() -> Result<Secret<32>, NoRandomness> {
        Secret::random()
    }

    /// The key of a seed (RFC 8032, 5.1.5).
    ///
    /// # Errors
    /// The library refuses it.
    pub fn from_seed(seed: &Secret<32>) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| BadKey)?;
        Ok(Self(Arc::new(pair)))
    }

    /// The public half.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.public_key().as_ref().try_into().unwrap_or_default())
    }

    /// Proves to the other end of one connection that this device is there.
    #[must_use]
    pub fn prove(&self, binding: &ChannelBinding) -> DeviceProof {
        let signature = self.0.sign(&message(binding));
        DeviceProof {
            key: self.id().0,
            signature: signature.as_ref().try_into().unwrap_or([0; 64]),
        }
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey")
    }
}

impl DeviceProof {
    /// Whose device it is, if the proof is good on the connection of this binding.
    #[must_use]
    pub fn verify(&self, binding: &ChannelBinding) -> Option<DeviceId> {
        let key = UnparsedPublicKey::new(&ED25519, self.key);
        key.verify(&message(binding), &self.signature).ok()?;
        Some(DeviceId(self.key))
    }
}

fn message(binding: &ChannelBinding) -> Vec<u8> {
    [CONTEXT, binding.expose()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_on_its_own_connection_only() {
        let key = DeviceKey::from_seed(&Secret::new([7; 32])).unwrap();
        let here = Secret::new([1; 32]);
        let proof = key.prove(&here);
        assert_eq!(proof.verify(&here), Some(key.id()));
        assert_eq!(proof.verify(&Secret::new([2; 32])), None);
        let other = DeviceKey::from_seed(&Secret::new([8; 32])).unwrap();
        assert_eq!(DeviceProof { key: other.id().0, ..proof }.verify(&here), None);
        let mut bent = proof;
        bent.signature[9] ^= 1;
        assert_eq!(bent.verify(&here), None);
    }
}
