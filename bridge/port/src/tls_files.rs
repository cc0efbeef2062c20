//! TLS settings from the PEM files that a port URL names; every error names the file. Shakes no hands.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::url::{Identity, TlsClient, TlsServer};

/// What a client believes and shows, and the name its server must have.
pub(crate) fn client(
    tls: &TlsClient,
    host: &str,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let name = tls.name.as_deref().unwrap_or(host).to_owned();
    let name =
        ServerName::try_from(name).map_err(|_| format!("{host} is not a name a certificate can have"))?;
    let roots = match &tls.ca {
        Some(file) => authorities(file)?,
        None => system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = load(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(|e| misfit(identity, &e))?
        }
    };
    Ok((Arc::new(config), name))
}

pub(crate) fn server(tls: &TlsServer) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|e| format!("{} cannot be used: {e}", file.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = load(&tls.identity)?;
    let config = builder.with_single_cert(chain, key).map_err(|e| misfit(&tls.identity, &e))?;
    Ok(Arc::new(config))
}

fn misfit(identity: &Identity, e: &rustls::Error) -> String {
    let Identity { cert, key } = identity;
    format!("the key in {} does not go with the certificate in {}: {e}", key.display(), cert.display())
}

fn load(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let key =
        PrivateKeyDer::from_pem_file(&identity.key).map_err(|e| explain(&identity.key, "private key", &e))?;
    Ok((certificates(&identity.cert)?, key))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |e| explain(file, "certificate", &e);
    let found = CertificateDer::pem_file_iter(file).map_err(wrong)?.collect::<Result<Vec<_>, _>>();
    let found = found.map_err(wrong)?;
    if found.is_empty() {
        return Err(explain(file, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|e| format!("a certificate in {} cannot be used: {e}", file.display()))?;
    }
    Ok(roots)
}

fn explain(file: &Path, what: &str, e: &pem::Error) -> String {
    let file = file.display();
    match e {
        pem::Error::Io(e) => format!("cannot read {file}: {e}"),
        pem::Error::NoItemsFound => format!("{file} holds no {what} in PEM form"),
        e => format!("{file} is not a PEM file: {e}"),
    }
}

/// What this machine trusts.
fn system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine trusts no certificates; say which with `ca=FILE`".into());
    }
    Ok(roots)
}
