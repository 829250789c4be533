//! The hash functions under CRAM-MD5 and SCRAM, each by its own crate of one family (RustCrypto).

use hmac::{Hmac, Mac as _};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a SCRAM mechanism is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// RFC 3174.
    Sha1,
    /// RFC 6234.
    Sha256,
}

impl Hash {
    /// H() of RFC 5802 §2.2.
    pub fn digest(self, octets: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::digest(octets).to_vec(),
            Hash::Sha256 => Sha256::digest(octets).to_vec(),
        }
    }

    /// HMAC() of RFC 5802 §2.2.
    pub fn hmac(self, key: &[u8], octets: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => keyed::<Hmac<Sha1>>(key, octets).finalize().into_bytes().to_vec(),
            Hash::Sha256 => keyed::<Hmac<Sha256>>(key, octets).finalize().into_bytes().to_vec(),
        }
    }

    /// True when `mac` is the HMAC(); takes as long whether or not it is.
    pub fn is_hmac(self, key: &[u8], octets: &[u8], mac: &[u8]) -> bool {
        match self {
            Hash::Sha1 => keyed::<Hmac<Sha1>>(key, octets).verify_slice(mac).is_ok(),
            Hash::Sha256 => keyed::<Hmac<Sha256>>(key, octets).verify_slice(mac).is_ok(),
        }
    }

    /// Hi() of RFC 5802 §2.2, which is PBKDF2.
    pub fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Hash::Sha1 => pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(password.as_bytes(), salt, iterations).to_vec(),
            Hash::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations).to_vec(),
        }
    }
}

/// HMAC-MD5 (RFC 2104).
pub fn hmac_md5(key: &[u8], octets: &[u8]) -> Vec<u8> {
    keyed::<Hmac<Md5>>(key, octets).finalize().into_bytes().to_vec()
}

fn keyed<M: hmac::Mac + hmac::digest::KeyInit>(key: &[u8], octets: &[u8]) -> M {
    let mut mac = <M as hmac::Mac>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(octets);
    mac
}
