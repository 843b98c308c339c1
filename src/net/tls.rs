//! TLS of the control connection, as both ends set it up: version 1.3 only, one provider of
//! cryptography, nothing resumed, and what binds a device's proof to a connection.
//!
//! Sessions are not resumed on purpose: each connection shows the server's key anew, so that what
//! the client knows of it is asked every time, and the server needs no ticket keys.

use super::device::{ChannelBinding, EXPORTER_LABEL};
use super::fingerprint::Fingerprint;
use super::secret::Secret;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::{
    ClientConfig, ConnectionCommon, DigitallySignedStruct, Error, InvalidMessage, ServerConfig,
    SignatureScheme,
};
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// Application protocol (RFC 7301): a server of something else cannot stand in for this one.
pub const ALPN: &[u8] = b"parlor/1";
/// First byte of a TLS record that carries a handshake (RFC 8446, 5.1).
pub const HANDSHAKE_RECORD: u8 = 0x16;

/// The cryptography of all TLS here. Key exchange is hybrid first, so that what is recorded today
/// cannot be opened by a quantum computer later.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    let groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    Arc::new(CryptoProvider { kx_groups: groups, ..default_provider() })
}

/// How a server speaks TLS; `certificates` says whose certificate it shows.
///
/// # Errors
/// The library refuses, which no input causes.
pub fn server_config(certificates: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// How a client speaks TLS; `judge` says whom it believes.
///
/// # Errors
/// The library refuses, which no input causes.
pub fn client_config<J: Judge>(judge: Arc<J>) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = Verifier { judge, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Says whether a server's certificate is to be believed. That the server holds its key is
/// verified apart from this, whatever the judge says.
pub trait Judge: Debug + Send + Sync + 'static {
    /// Judges what the server shows, before anything but the handshake is sent.
    ///
    /// # Errors
    /// It is not to be believed: the handshake ends.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error>;
}

#[derive(Debug)]
struct Verifier<J> {
    judge: Arc<J>,
    provider: Arc<CryptoProvider>,
}

impl<J: Judge> ServerCertVerifier for Verifier<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.judge(end_entity, intermediates, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The fingerprint of a certificate's key.
///
/// # Errors
/// It is no certificate (X.509 version 3).
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Fingerprint::of_spki(&parsed.subject_public_key_info()))
}

/// What binds a device's proof to this connection (RFC 9266): both ends have the same, and no
/// other connection has it. `None` before the handshake is over.
#[must_use]
pub fn channel_binding<D>(connection: &ConnectionCommon<D>) -> Option<ChannelBinding> {
    let bytes = connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok()?;
    Some(Secret::new(bytes))
}

/// Whether a failed handshake means that the other end does not speak TLS at all.
#[must_use]
pub fn is_no_tls(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}

/// The TLS library's own words for why a handshake failed, where it was that.
#[must_use]
pub fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
pub mod test_support {
    //! Certificates for tests, made on the spot.

    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};

    /// A server's certificate that nobody vouches for.
    pub fn self_signed(name: &str) -> Arc<CertifiedKey> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain = vec![certificate.der().clone()];
        Arc::new(CertifiedKey::from_der(chain, der, &provider()).unwrap())
    }

    /// A server that shows this certificate.
    pub fn server(certified: &CertifiedKey) -> Arc<ServerConfig> {
        Arc::new(server_config(Arc::new(SingleCertAndKey::from(certified.clone()))).unwrap())
    }

    /// A client that believes anyone.
    #[derive(Debug)]
    pub struct Anyone;

    impl Judge for Anyone {
        fn judge(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: UnixTime,
        ) -> Result<(), Error> {
            Ok(())
        }
    }
}
