//! Calls to systemd: `org.freedesktop.systemd1.Manager` (org.freedesktop.systemd1(5)).

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustbus::message_builder::{MarshalledMessage, MessageBuilder};
use rustbus::params::{Base, Container, Param};

use super::Instance;
use super::bus::{BusError, Connection};
use super::endpoint::Endpoint;
use super::value::{Property, PropertyValue};
use crate::error::{Error, ErrorKind, Result};

/// How long a unit may take to start or stop, including the connection.
const PATIENCE: Duration = Duration::from_secs(30);

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// A connection to systemd for one operation: its deadline runs from the start.
#[derive(Debug)]
pub(crate) struct Manager {
    connection: Connection,
}

impl Manager {
    /// Connects to an instance, by the first of its sockets that answers. When `cancel` becomes readable, this and
    /// every later call fails.
    pub(crate) fn connect(instance: &Instance, cancel: Option<BorrowedFd<'_>>) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let mut reasons = Vec::new();
        for endpoint in instance.endpoints() {
            match Self::connect_to(&endpoint, deadline, cancel) {
                Ok(manager) => return Ok(manager),
                Err(BusError::Cancelled) => return Err(Error::cancelled()),
                Err(failure) => reasons.push(format!("{endpoint}: {failure}")),
            }
        }
        Err(instance.unreachable(&reasons))
    }

    /// Also gives up when this becomes readable: the end of the process that it waits for.
    pub(crate) fn watch(&mut self, process: BorrowedFd<'_>) -> Result<()> {
        let process = process.try_clone_to_owned();
        self.connection.watch(process.map_err(|error| Error::io(&error, "duplicate a pidfd"))?);
        Ok(())
    }

    fn connect_to(
        endpoint: &Endpoint,
        deadline: Instant,
        cancel: Option<BorrowedFd<'_>>,
    ) -> Result<Self, BusError> {
        let cancel = cancel.map(|fd| fd.try_clone_to_owned()).transpose()?;
        let mut connection = Connection::open(endpoint, deadline, cancel)?;
        if let Endpoint::Bus(_) = endpoint {
            let bus = |member: &str| {
                let call = MessageBuilder::new().call(member).on("/org/freedesktop/DBus");
                call.with_interface("org.freedesktop.DBus").at("org.freedesktop.DBus").build()
            };
            connection.call(&bus("Hello"))?;
            // A bus forwards only what was asked for, and systemd sends signals there only to subscribers. Messages are
            // handled in order, so there is no need to wait for either answer.
            let mut wanted = bus("AddMatch");
            push(
                &mut wanted,
                &[string(&format!(
                    "type='signal',sender='{NAME}',interface='{INTERFACE}',member='JobRemoved'"
                ))],
            )?;
            connection.tell(wanted)?;
            connection.tell(method("Subscribe"))?;
        }
        Ok(Self { connection })
    }

    /// Makes a scope and waits until its processes are in it. First forgets a failed unit with that name.
    pub(super) fn start_scope(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        let fail = |failure: BusError| {
            if let BusError::Cancelled = failure {
                return Error::cancelled();
            }
            let error = Error::new(failure.kind(), format!("unable to start unit {unit:?}: {failure}"));
            let error = error.at("/linux/cgroupsPath");
            match failure {
                BusError::Refused { name, .. } if name.ends_with(".UnitExists") => {
                    error.with_hint("a container or service with that name is running")
                }
                BusError::Timeout => error.with_hint("systemd is busy or hangs: see `systemctl list-jobs`"),
                _ => error,
            }
        };
        match self.start_transient(unit, properties) {
            Err(BusError::Refused { name, .. }) if name.ends_with(".UnitExists") => {
                self.reset_failed(unit);
                self.start_transient(unit, properties).map_err(fail)
            }
            other => other.map_err(fail),
        }
    }

    fn start_transient(&mut self, unit: &str, properties: &[Property]) -> Result<(), BusError> {
        let mut call = method("StartTransientUnit");
        let no_others = Container::make_array("(sa(sv))", std::iter::empty::<Param<'_, '_>>());
        push(
            &mut call,
            &[
                string(unit),
                string("replace"),
                described(properties)?,
                Param::Container(no_others.map_err(|error| unmarshallable(&error))?),
            ],
        )?;
        let result = self.run(&call)?;
        if result == "done" {
            return Ok(());
        }
        self.reset_failed(unit);
        Err(BusError::Broken(format!("the job ended with {result:?}")))
    }

    /// Sends a call that makes a job, and waits until the job is over; returns its result.
    fn run(&mut self, call: &MarshalledMessage) -> Result<String, BusError> {
        let answer = self.connection.call(call)?;
        let unexpected = || BusError::Broken("systemd answered something unexpected".to_owned());
        let job = answer.unmarshall_all().map_err(|_| unexpected())?;
        let job = job.params.first().and_then(text).ok_or_else(unexpected)?.to_owned();
        loop {
            let signal = self.connection.signal()?;
            if signal.dynheader.member.as_deref() != Some("JobRemoved") {
                continue;
            }
            // JobRemoved(id: u, job: o, unit: s, result: s)
            let signal = signal.unmarshall_all().map_err(|_| unexpected())?;
            if let [_, removed, _, result] = &signal.params[..]
                && text(removed) == Some(&job)
            {
                return text(result).map(str::to_owned).ok_or_else(unexpected);
            }
        }
    }

    /// Changes properties until the next boot.
    pub(super) fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        let mut call = method("SetUnitProperties");
        let runtime = Param::Base(Base::Boolean(true));
        let sent = described(properties)
            .and_then(|properties| push(&mut call, &[string(unit), runtime, properties]))
            .and_then(|()| self.connection.call(&call).map(drop));
        sent.map_err(|failure| {
            Error::new(failure.kind(), format!("unable to set properties of unit {unit:?}: {failure}"))
        })
    }

    /// Moves a process into the cgroup of a unit, or into one below it.
    pub(super) fn attach(&mut self, unit: &str, inside: &Path, pid: i32) -> Result<()> {
        let mut call = method("AttachProcessesToUnit");
        // It is empty, or begins with a slash.
        let inside = inside
            .components()
            .fold(String::new(), |path, part| path + "/" + &part.as_os_str().to_string_lossy());
        let pids = param(&PropertyValue::Array("u", vec![PropertyValue::U32(pid.cast_unsigned())]));
        let sent = pids
            .and_then(|pids| push(&mut call, &[string(unit), string(&inside), pids]))
            .and_then(|()| self.connection.call(&call).map(drop));
        sent.map_err(|failure| {
            Error::new(failure.kind(), format!("unable to put process {pid} into unit {unit:?}: {failure}"))
        })
    }

    /// Stops a unit, if there is one, and waits until systemd has forgotten it.
    pub(super) fn stop(&mut self, unit: &str) -> Result<()> {
        let mut call = method("StopUnit");
        let stopped = push(&mut call, &[string(unit), string("replace")]).and_then(|()| self.run(&call));
        match stopped {
            Ok(result) => {
                if result != "done" {
                    log::warn!("stop unit {unit:?}: the job ended with {result:?}");
                }
                self.reset_failed(unit);
                Ok(())
            }
            Err(BusError::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            Err(failure) => {
                Err(Error::new(failure.kind(), format!("unable to stop unit {unit:?}: {failure}")))
            }
        }
    }

    /// Makes systemd forget that a unit failed, and thereby the unit.
    fn reset_failed(&mut self, unit: &str) {
        let mut call = method("ResetFailedUnit");
        let reset = push(&mut call, &[string(unit)]).and_then(|()| self.connection.call(&call));
        if let Err(failure) = reset {
            log::debug!("reset failed unit {unit:?}: {failure}");
        }
    }
}

impl BusError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout => ErrorKind::Timeout,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Refused { name, .. } if name.ends_with("AccessDenied") => ErrorKind::Permission,
            Self::Refused { name, .. } if name.ends_with("InteractiveAuthorizationRequired") => {
                ErrorKind::Permission
            }
            Self::Refused { name, .. } if name.ends_with("UnitExists") => ErrorKind::WrongState,
            Self::Refused { .. } | Self::Broken(_) | Self::Gone => ErrorKind::System,
        }
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { name, text } if text.is_empty() => f.write_str(name),
            Self::Refused { text, .. } => f.write_str(text.trim_end_matches('.')),
            Self::Timeout => write!(f, "no answer within {} s", PATIENCE.as_secs()),
            Self::Cancelled => f.write_str("the caller cancelled the operation"),
            Self::Gone => f.write_str("the container's process ended meanwhile"),
            Self::Broken(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(path) => write!(f, "{}", path.display()),
            Self::Bus(address) => f.write_str(address),
        }
    }
}

fn method(member: &str) -> MarshalledMessage {
    MessageBuilder::new().call(member).on(PATH).with_interface(INTERFACE).at(NAME).build()
}

fn push(message: &mut MarshalledMessage, params: &[Param<'_, '_>]) -> Result<(), BusError> {
    message.body.push_old_params(params).map_err(|error| unmarshallable(&error))
}

fn unmarshallable(error: &dyn fmt::Display) -> BusError {
    BusError::Broken(format!("cannot put the call into a message: {error}"))
}

fn string<'a, 'e>(text: &str) -> Param<'a, 'e> {
    Param::Base(Base::String(text.to_owned()))
}

fn text<'p>(param: &'p Param<'_, '_>) -> Option<&'p str> {
    match param {
        Param::Base(Base::String(text) | Base::ObjectPath(text)) => Some(text),
        _ => None,
    }
}

/// Properties as `a(sv)`.
fn described(properties: &[Property]) -> Result<Param<'static, 'static>, BusError> {
    let mut items: Vec<Param<'static, 'static>> = Vec::new();
    for property in properties {
        let value = Param::Container(Container::make_variant(param(&property.value)?));
        items.push(Param::Container(Container::Struct(vec![string(&property.name), value])));
    }
    Container::make_array("(sv)", items.into_iter())
        .map(Param::Container)
        .map_err(|error| unmarshallable(&error))
}

fn param(value: &PropertyValue) -> Result<Param<'static, 'static>, BusError> {
    let base = match value {
        PropertyValue::Bool(value) => Base::Boolean(*value),
        PropertyValue::Byte(value) => Base::Byte(*value),
        PropertyValue::I16(value) => Base::Int16(*value),
        PropertyValue::U16(value) => Base::Uint16(*value),
        PropertyValue::I32(value) => Base::Int32(*value),
        PropertyValue::U32(value) => Base::Uint32(*value),
        PropertyValue::I64(value) => Base::Int64(*value),
        PropertyValue::U64(value) => Base::Uint64(*value),
        PropertyValue::Str(value) => Base::String(value.clone()),
        PropertyValue::Array(signature, items) => {
            let items = items.iter().map(param).collect::<Result<Vec<_>, _>>()?;
            return Container::make_array(signature, items.into_iter())
                .map(Param::Container)
                .map_err(|error| unmarshallable(&error));
        }
        PropertyValue::Tuple(items) => {
            let items = items.iter().map(param).collect::<Result<Vec<_>, _>>()?;
            return Ok(Param::Container(Container::Struct(items)));
        }
    };
    Ok(Param::Base(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_the_types_that_systemd_wants() {
        let properties = [
            Property::new("PIDs", PropertyValue::Array("u", vec![PropertyValue::U32(7)])),
            Property::new("DeviceAllow", PropertyValue::Array("(ss)", Vec::new())),
            Property::new("Delegate", PropertyValue::Bool(true)),
        ];
        let mut message = method("StartTransientUnit");
        push(&mut message, &[described(&properties).unwrap()]).unwrap();
        assert_eq!(message.get_sig(), "a(sv)");
        message.body.validate().unwrap();
        let mut signatures = Vec::new();
        for property in &properties {
            let mut signature = String::new();
            param(&property.value).unwrap().make_signature(&mut signature);
            signatures.push(signature);
        }
        assert_eq!(signatures, ["au", "a(ss)", "b"]);
    }

    #[test]
    fn an_instance_that_is_nowhere_is_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::User { uid: 1, runtime_dir: Some(dir.path().to_owned()), address: None };
        let error = Manager::connect(&instance, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = error.to_string();
        assert!(text.starts_with("systemd cgroup flag passed, but"), "{text}");
        assert!(text.contains("systemd/private: No such file"), "{text}");
    }
}
