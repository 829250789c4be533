//! `private_key_jwt`: a token by which a client proves itself with its key (RFC 7523 §3, signed by PS256, RFC 7518 §3.5).
//!
//! The certificate is not sent: its thumbprints say which one it is (RFC 7515 §4.1.7, §4.1.8). Providers look for the
//! newer or for the older of the two.

use super::error::Error;
use crate::account::{Identity, OAuth2, Password};

/// A token for one request to the token endpoint.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn sign(oauth2: &OAuth2, certificate: &Identity, key: &Identity, now: u64) -> Result<Password, Error> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
    use serde_json::json;
    use std::path::Path;

    // In seconds: Microsoft recommends 5 to 10 minutes.
    const LIFETIME: u64 = 300;
    let signer = with_openssl::Signer::new(certificate, key)?;
    let [sha1, sha256] = signer.thumbprints()?.map(|thumbprint| BASE64URL.encode(thumbprint));
    let header = json!({ "alg": "PS256", "typ": "JWT", "x5t": sha1, "x5t#S256": sha256 });
    let id = crate::os::random::octets::<32>().map_err(Error::io("read", Path::new("the system's random numbers")))?;
    let claims = json!({
        "aud": oauth2.token_endpoint, "iss": oauth2.client_id, "sub": oauth2.client_id, "jti": BASE64URL.encode(id),
        "iat": now, "nbf": now, "exp": now + LIFETIME,
    });
    let signed = [header, claims].map(|part| BASE64URL.encode(part.to_string())).join(".");
    let signature = signer.sign(signed.as_bytes())?;
    Ok(Password::new(format!("{signed}.{}", BASE64URL.encode(signature))))
}

/// Security.framework is not spoken to here.
#[cfg(target_vendor = "apple")]
pub(super) fn sign(_: &OAuth2, _: &Identity, key: &Identity, _: u64) -> Result<Password, Error> {
    Err(Error::key(&key.path, "`client_key` is not supported on this system; use a client secret"))
}

#[cfg(not(target_vendor = "apple"))]
mod with_openssl {
    use openssl::error::ErrorStack;
    use openssl::hash::MessageDigest;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Padding;
    use openssl::sign::{self, RsaPssSaltlen};
    use openssl::x509::X509;

    use super::{Error, Identity};

    pub(super) struct Signer<'p> {
        certificate: X509,
        key: PKey<Private>,
        path: &'p std::path::Path,
    }

    impl<'p> Signer<'p> {
        pub(super) fn new(certificate: &Identity, key: &'p Identity) -> Result<Self, Error> {
            let no_certificate = |_| Error::key(&certificate.path, "it has no certificate in PEM");
            let read = X509::from_pem(&certificate.octets).map_err(no_certificate)?;
            // Left to itself, OpenSSL asks for a passphrase on the terminal.
            let private = PKey::private_key_from_pem_callback(&key.octets, |_| Err(ErrorStack::get()));
            let private = private.map_err(|_| Error::key(&key.path, "it has no key in PEM without a passphrase"))?;
            if private.rsa().is_err() {
                return Err(Error::key(&key.path, "its key is not one of RSA, which PS256 needs"));
            }
            if !read.public_key().is_ok_and(|public| private.public_eq(&public)) {
                let why = format!("its key is not that of the certificate `{}`", certificate.path.display());
                return Err(Error::key(&key.path, why));
            }
            Ok(Signer { certificate: read, key: private, path: &key.path })
        }

        /// SHA-1 and SHA-256 of the certificate.
        pub(super) fn thumbprints(&self) -> Result<[Vec<u8>; 2], Error> {
            let digest = |kind| self.certificate.digest(kind).map(|digest| digest.to_vec());
            let both = digest(MessageDigest::sha1()).and_then(|sha1| Ok([sha1, digest(MessageDigest::sha256())?]));
            both.map_err(|error| self.failed(&error))
        }

        pub(super) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
            self.pss().and_then(|mut signer| signer.sign_oneshot_to_vec(octets)).map_err(|error| self.failed(&error))
        }

        fn pss(&self) -> Result<sign::Signer<'_>, ErrorStack> {
            let mut signer = sign::Signer::new(MessageDigest::sha256(), &self.key)?;
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_mgf1_md(MessageDigest::sha256())?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            Ok(signer)
        }

        fn failed(&self, error: &ErrorStack) -> Error {
            Error::key(self.path, crate::text::printable(error.to_string().as_bytes()))
        }
    }
}
