//! Hosts on one machine: network namespaces on a bridge, whose links are cut, slowed and healed. Needs a network
//! namespace of its own, as `make hosts` gives it.

use std::path::PathBuf;
use std::process::Command;

/// The bridge, with an address of its own from which tests reach every host.
pub struct Network {
    hosts: Vec<Host>,
}

/// A host and its link.
#[derive(Clone)]
pub struct Host {
    /// Its name.
    pub name: &'static str,
    /// Its address.
    pub address: String,
}

impl Network {
    /// Hosts with these names, connected. Panics where namespaces are not allowed.
    pub fn of(names: &[&'static str]) -> Self {
        run("ip link set lo up");
        run("ip link add hosts type bridge");
        run("ip addr add 10.77.0.1/24 dev hosts");
        run("ip link set hosts up");
        let hosts = (11..).zip(names).map(|(number, &name)| {
            let address = format!("10.77.0.{number}");
            run(&format!("ip netns add {name}"));
            run(&format!("ip link add to-{name} type veth peer name eth0 netns {name}"));
            run(&format!("ip link set to-{name} master hosts up"));
            for command in [&format!("ip addr add {address}/24 dev eth0"), "ip link set eth0 up", "ip link set lo up"] {
                run(&format!("nsenter --net=/run/netns/{name} {command}"));
            }
            Host { name, address }
        });
        Self { hosts: hosts.collect() }
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).unwrap()
    }

    /// Cuts a host off: connections stay open at both ends, and nothing arrives any more.
    pub fn cut(&self, name: &str) {
        run(&format!("ip link set to-{name} down"));
    }

    /// Connects it again.
    pub fn heal(&self, name: &str) {
        run(&format!("ip link set to-{name} up"));
    }

    /// Lets no more than this through to a host, as in `2mbit`.
    pub fn slow(&self, name: &str, rate: &str) {
        run(&format!("tc qdisc replace dev to-{name} root tbf rate {rate} burst 16kb latency 400ms"));
    }

    /// Full speed again.
    pub fn hasten(&self, name: &str) {
        run(&format!("tc qdisc del dev to-{name} root"));
    }
}

impl Host {
    /// A program that is to run there.
    pub fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }
}

#[track_caller]
fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
