//! The `name=value` options after a port URL: one at a time, with the places for errors. Knows no port.

use std::path::PathBuf;

use super::{Identity, Policy, TlsClient, TlsServer, UrlError};

/// What stands after the `?`.
pub(super) struct Options<'a> {
    input: &'a str,
    start: Option<usize>,
    at: usize,
}

/// One option and where it stands.
pub(super) struct Given<'a> {
    input: &'a str,
    pub key: &'a str,
    pub key_at: usize,
    pub value: &'a str,
    value_at: usize,
}

impl<'a> Options<'a> {
    pub(super) fn new(input: &'a str, start: Option<usize>) -> Self {
        Self { input, start, at: start.unwrap_or(input.len() + 1) }
    }

    pub(super) fn start(&self) -> Option<usize> {
        self.start
    }

    /// The next option; one that was there before is an error.
    pub(super) fn next(&mut self) -> Result<Option<Given<'a>>, UrlError> {
        let (Some(start), Some(rest)) = (self.start, self.input.get(self.at..)) else { return Ok(None) };
        let part = rest.split('&').next().unwrap_or_default();
        let Some((key, value)) = part.split_once('=') else {
            return Err(UrlError::new(self.input, self.at, "an option has the form name=value"));
        };
        let before = &self.input[start..self.at];
        if before.split('&').any(|given| given.split('=').next() == Some(key)) {
            return Err(UrlError::new(self.input, self.at, format!("`{key}` is given twice")));
        }
        let key_at = self.at;
        self.at += part.len() + 1;
        Ok(Some(Given { input: self.input, key, key_at, value, value_at: key_at + key.len() + 1 }))
    }

    pub(super) fn tls_client(mut self) -> Result<Option<TlsClient>, UrlError> {
        let mut tls = Tls::default();
        while let Some(option) = self.next()? {
            if !tls.take(&option, &["tls", "ca", "cert", "key", "name"])? {
                return Err(option.unknown("a TCP connection", "tls, ca, cert, key, name"));
            }
        }
        if !tls.wanted(self.input)? {
            return Ok(None);
        }
        let identity = tls.identity(self.input)?;
        Ok(Some(TlsClient { ca: tls.ca, identity, name: tls.name }))
    }

    pub(super) fn listener(mut self) -> Result<(Policy, Option<TlsServer>), UrlError> {
        let (mut policy, mut tls) = (None, Tls::default());
        while let Some(option) = self.next()? {
            if option.key == "policy" {
                option.policy()?;
                policy = Some(option);
            } else if !tls.take(&option, &["tls", "cert", "key", "client_ca"])? {
                return Err(option.unknown("a TCP listener", "policy, tls, cert, key, client_ca"));
            }
        }
        if !tls.wanted(self.input)? {
            return Ok((policy.map_or(Ok(Policy::default()), |p| p.policy())?, None));
        }
        let policy = policy.map_or(Ok(Policy::default()), |p| p.policy_of_one())?;
        let Some(identity) = tls.identity(self.input)? else {
            let why = "a TLS listener needs its certificate and key: cert=FILE&key=FILE";
            return Err(UrlError::new(self.input, self.input.len(), why));
        };
        Ok((policy, Some(TlsServer { identity, client_ca: tls.client_ca })))
    }
}

impl Given<'_> {
    fn wrong(&self, message: impl Into<String>) -> UrlError {
        UrlError::new(self.input, self.value_at, message)
    }

    pub(super) fn unknown(&self, of: &str, known: &str) -> UrlError {
        let message = format!("`{}` is not an option of {of}; known options are {known}", self.key);
        UrlError::new(self.input, self.key_at, message)
    }

    pub(super) fn parse<T: std::str::FromStr<Err = String>>(&self) -> Result<T, UrlError> {
        self.value.parse().map_err(|why: String| self.wrong(why))
    }

    pub(super) fn switch(&self) -> Result<bool, UrlError> {
        crate::serial_options::switch(self.value).map_err(|why| self.wrong(why))
    }

    pub(super) fn policy(&self) -> Result<Policy, UrlError> {
        [Policy::Refuse, Policy::Kick, Policy::Share].into_iter().find(|p| p.word() == self.value).ok_or_else(
            || self.wrong(format!("`{}` is not a policy; expected refuse, kick or share", self.value)),
        )
    }

    /// Of a port whose client is spoken to in its own way, so that nobody else can listen to it.
    pub(super) fn policy_of_one(&self) -> Result<Policy, UrlError> {
        match self.policy()? {
            Policy::Share => {
                Err(self.wrong("this port has one client; policy=share is for plain tcp-listen: ports"))
            }
            policy => Ok(policy),
        }
    }

    fn file(&self) -> Result<PathBuf, UrlError> {
        if self.value.is_empty() {
            return Err(self.wrong(format!("`{}` needs the path of a PEM file", self.key)));
        }
        Ok(PathBuf::from(self.value))
    }
}

/// The TLS options as they come.
#[derive(Default)]
struct Tls {
    on: bool,
    /// The first option that only TLS has.
    first: Option<(String, usize)>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    name: Option<String>,
}

impl Tls {
    /// Takes the option if it is one of `known`.
    fn take(&mut self, option: &Given<'_>, known: &[&str]) -> Result<bool, UrlError> {
        if !known.contains(&option.key) {
            return Ok(false);
        }
        match option.key {
            "tls" => {
                self.on = option.switch()?;
                return Ok(true);
            }
            "ca" => self.ca = Some(option.file()?),
            "cert" => self.cert = Some(option.file()?),
            "key" => self.key = Some(option.file()?),
            "client_ca" => self.client_ca = Some(option.file()?),
            _ => {
                if rustls::pki_types::ServerName::try_from(option.value).is_err() {
                    return Err(option.wrong(format!("`{}` is not a host name", option.value)));
                }
                self.name = Some(option.value.to_owned());
            }
        }
        self.first.get_or_insert((option.key.to_owned(), option.key_at));
        Ok(true)
    }

    fn wanted(&self, input: &str) -> Result<bool, UrlError> {
        match &self.first {
            Some((key, at)) if !self.on => {
                Err(UrlError::new(input, *at, format!("`{key}` is for TLS; add tls=on or leave it out")))
            }
            _ => Ok(self.on),
        }
    }

    fn identity(&mut self, input: &str) -> Result<Option<Identity>, UrlError> {
        let (given, missing) = match (self.cert.take(), self.key.take()) {
            (Some(cert), Some(key)) => return Ok(Some(Identity { cert, key })),
            (None, None) => return Ok(None),
            (Some(_), None) => ("cert", "key"),
            (None, Some(_)) => ("key", "cert"),
        };
        Err(UrlError::new(input, input.len(), format!("`{given}` needs `{missing}` beside it")))
    }
}
