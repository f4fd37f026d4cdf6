//! What one sandbox may see: the zones of its own networks, and of those that these are joined with by `name.network`; nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::zone::ZoneCell;

/// What a sandbox, or a network's gateway, answers from.
#[derive(Debug, Default)]
pub struct Scope {
    /// Names that are none of a network: the host's and the gateway's, in lower case.
    pub fixed: Vec<(&'static str, Vec<IpAddr>)>,
    /// The networks, in the order in which they are asked. The first that has a name gives all of its addresses.
    pub networks: Vec<View>,
    /// Where other names are asked for.
    pub upstreams: Upstreams,
    /// What names end in for a container engine's containers, `dns.podman`, in lower case. A name of several of the networks
    /// has all of their addresses then, as such engines' own name servers have it.
    pub domain: Option<Box<str>>,
}

/// A network as one of its members sees it.
#[derive(Debug)]
pub struct View {
    /// The network's name in lower case.
    pub name: Box<str>,
    /// Its names.
    pub zone: Arc<ZoneCell>,
    /// Names that this member alone has for others.
    pub links: Vec<Link>,
}

/// A name that one member alone has for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name, in lower case.
    pub alias: Box<str>,
    /// A name of the other in the zone, in lower case.
    pub target: Box<str>,
}

/// Where names are asked for that no network has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// Who is asked, in this order.
    pub servers: Servers,
    /// There is a way out of at least one of the networks. Without one only resolvers on them are asked.
    pub leaves: bool,
    /// The networks' own addresses.
    pub subnets: Vec<IpNet>,
    /// Names without a dot stay here: whoever sets `ndots` above 0 wants its search domains tried for them.
    pub keep_single_labels: bool,
}

/// Resolvers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Servers {
    /// Those of the host's resolv.conf, as it is at the moment of the question.
    #[default]
    Host,
    /// These.
    Given(Vec<IpAddr>),
}

impl Upstreams {
    /// Whether a resolver that is not on somebody's loopback can answer at all.
    #[must_use]
    pub fn reaches(&self, server: IpAddr) -> bool {
        self.leaves || self.subnets.iter().any(|net| net.contains(&server))
    }
}

impl Scope {
    /// The addresses of a name in lower case, without a final dot; `None` if none of the networks has it.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let fixed = || self.fixed.iter().find(|(fixed, _)| *fixed == name).map(|(_, addresses)| addresses.clone());
        let on_network = match &self.domain {
            None => self.networks.iter().find_map(|view| view.addresses(name)),
            Some(_) => self.everywhere(self.below_domain(name).unwrap_or(name)),
        };
        on_network.or_else(|| self.qualified(name)).or_else(|| self.beyond(name)).or_else(fixed)
    }

    /// What all networks have of a name.
    fn everywhere(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut found = self.networks.iter().filter_map(|view| view.addresses(name)).peekable();
        found.peek().is_some().then(|| found.flatten().collect())
    }

    /// The name without the domain, if it ends in that.
    fn below_domain<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_suffix(self.domain.as_deref()?)?.strip_suffix('.')
    }

    /// Whether nobody else may be asked for a name that no network has.
    #[must_use]
    pub fn keeps(&self, name: &str) -> bool {
        let single = self.upstreams.keep_single_labels && !name.contains('.');
        let engine = self.domain.as_deref();
        let own = engine == Some(name) || self.below_domain(name).is_some();
        single || own || (engine.is_some() && !self.upstreams.leaves)
    }

    /// `name.network`. Both may contain dots.
    fn qualified(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.networks.iter().find_map(|view| {
            let bare = name.strip_suffix(&*view.name)?.strip_suffix('.')?;
            view.addresses(bare)
        })
    }

    /// `name.network` of a network that one of the scope's is joined with.
    fn beyond(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.networks.iter().find_map(|view| view.zone.load().joined().iter().find_map(|joined| joined.addresses(name)))
    }

    /// Who has an address.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Owner {
        for view in &self.networks {
            if let Some(names) = view.zone.load().names(address) {
                return Owner::Named(match self.domain {
                    None => vec![names.canonical.clone()],
                    // As such engines' own name servers have it.
                    Some(_) => names.all.clone(),
                });
            }
        }
        if self.networks.iter().any(|view| view.zone.load().contains(address)) {
            return Owner::Nobody;
        }
        let beyond = |view: &View| view.zone.load().joined().iter().find_map(|joined| joined.owner(address));
        match self.networks.iter().find_map(beyond) {
            Some(Some(names)) => Owner::Named(vec![names.canonical]),
            Some(None) => Owner::Nobody,
            None => Owner::Elsewhere,
        }
    }
}

/// Who has an address, as far as a scope knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// `name.network`; for a container engine's containers all names as they are.
    Named(Vec<Box<str>>),
    /// It belongs to one of the networks, and nobody there has it.
    Nobody,
    /// It belongs to none of the networks.
    Elsewhere,
}

impl View {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let zone = self.zone.load();
        let link = self.links.iter().find(|link| *link.alias == *name);
        let linked = link.and_then(|link| zone.addresses(&link.target));
        linked.or_else(|| zone.addresses(name)).map(<[IpAddr]>::to_vec)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::zone::{Joined, Member, Zone};
    use super::*;

    /// A network with members `(name, address)`.
    pub(in crate::dns) fn view(name: &str, subnet: &str, members: &[(&str, &str)]) -> View {
        let zone = Zone::cell();
        let members = members.iter().map(|(name, address)| Member {
            names: name.split(' ').collect(),
            addresses: address.split(' ').map(|text| text.parse().unwrap()).collect(),
        });
        zone.store(Arc::new(Zone::new(name, [subnet.parse().unwrap()].into_iter(), members)));
        View { name: name.into(), zone, links: Vec::new() }
    }

    fn text(found: Option<Vec<IpAddr>>) -> Option<String> {
        found.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    /// The first network that has a name answers; `name.network` chooses one; other networks' names do not exist.
    #[test]
    fn several_networks() {
        let scope = Scope {
            fixed: vec![("host.vswitch.internal", vec!["10.0.2.2".parse().unwrap()]), ("db", Vec::new())],
            networks: vec![
                view("red", "10.1.0.0/24", &[("db x", "10.1.0.2"), ("a.b", "10.1.0.4")]),
                view("my.blue", "10.2.0.0/24", &[("db", "10.2.0.2"), ("web", "10.2.0.3")]),
            ],
            ..Scope::default()
        };
        for (name, wanted) in [
            ("db", Some("10.1.0.2")),
            ("db.red", Some("10.1.0.2")),
            ("x.red", Some("10.1.0.2")),
            ("db.my.blue", Some("10.2.0.2")),
            ("web", Some("10.2.0.3")),
            ("a.b.red", Some("10.1.0.4")),
            ("host.vswitch.internal", Some("10.0.2.2")),
            ("web.red", None),
            ("db.green", None),
            ("db.blue", None),
            (".red", None),
            ("red", None),
            ("", None),
        ] {
            assert_eq!(text(scope.addresses(name)).as_deref(), wanted, "{name}");
        }
    }

    /// An engine's containers find names with and without its domain, on all of their networks at once, and nothing of the
    /// domain is ever asked for elsewhere; behind internal networks nothing is.
    #[test]
    fn domains_of_engines() {
        let mut scope = Scope {
            domain: Some("dns.podman".into()),
            networks: vec![
                view("red", "10.1.0.0/24", &[("db", "10.1.0.2")]),
                view("blue", "10.2.0.0/24", &[("db", "10.2.0.2"), ("web", "10.2.0.3")]),
            ],
            upstreams: Upstreams { leaves: true, ..Upstreams::default() },
            ..Scope::default()
        };
        for (name, wanted, kept) in [
            ("db", Some("10.1.0.2 10.2.0.2"), false),
            ("db.dns.podman", Some("10.1.0.2 10.2.0.2"), true),
            ("web.dns.podman", Some("10.2.0.3"), true),
            ("db.red", Some("10.1.0.2"), false),
            ("nobody.dns.podman", None, true),
            ("dns.podman", None, true),
            ("nobody", None, false),
            ("dbdns.podman", None, false),
        ] {
            assert_eq!(text(scope.addresses(name)).as_deref(), wanted, "{name}");
            assert_eq!(scope.keeps(name), kept, "{name}");
        }
        scope.upstreams.leaves = false;
        assert!(scope.keeps("example.org"));
        scope.networks.push(view("green", "10.3.0.0/24", &[("db2 7d8ae front", "10.3.0.2")]));
        let all = ["db2", "7d8ae", "front"].map(Into::into).to_vec();
        assert_eq!(scope.owner("10.3.0.2".parse().unwrap()), Owner::Named(all));
    }

    /// Names of a network that one's own is joined with are seen with that network's behind them, where packets pass to them, and only
    /// for as long as it is there; networks that the other one is joined with are not.
    #[test]
    fn names_of_joined_networks() {
        let own = view("red", "10.1.0.0/24", &[("db", "10.1.0.2")]);
        let other = view("my.blue", "10.2.0.0/24", &[("Web 1f", "10.2.0.3 fd02::3")]);
        let third = view("green", "10.3.0.0/24", &[("far", "10.3.0.2")]);
        let join = |view: &View, with: &View| {
            let joined = Joined { name: with.name.clone(), zone: Arc::downgrade(&with.zone), families: [true, false] };
            view.zone.rcu(|zone| Zone::clone(zone).joined_with(vec![joined.clone()]));
        };
        join(&own, &other);
        join(&other, &third);
        let scope = Scope { networks: vec![own], ..Scope::default() };
        for (name, wanted) in [
            ("db", Some("10.1.0.2")),
            ("web.my.blue", Some("10.2.0.3")),
            ("1f.my.blue", Some("10.2.0.3")),
            ("web", None),
            ("web.red", None),
            ("db.my.blue", None),
            ("far.green", None),
        ] {
            assert_eq!(text(scope.addresses(name)).as_deref(), wanted, "{name}");
        }
        let owner = |text: &str| scope.owner(text.parse().unwrap());
        assert_eq!(owner("10.2.0.3"), Owner::Named(vec!["Web.my.blue".into()]));
        assert_eq!(owner("10.2.0.4"), Owner::Nobody);
        assert_eq!(owner("fd02::3"), Owner::Elsewhere);
        assert_eq!(owner("10.3.0.2"), Owner::Elsewhere);
        drop(other);
        assert_eq!(text(scope.addresses("web.my.blue")), None);
    }

    /// A link is a name for its owner alone, hides the network's own name, and ends with its target.
    #[test]
    fn links() {
        let mut own = view("red", "10.1.0.0/24", &[("db", "10.1.0.2"), ("cache", "10.1.0.3")]);
        own.links = vec![
            Link { alias: "store".into(), target: "db".into() },
            Link { alias: "cache".into(), target: "db".into() },
            Link { alias: "gone".into(), target: "nobody".into() },
        ];
        let other = View { name: own.name.clone(), zone: own.zone.clone(), links: Vec::new() };
        let scope = |view| Scope { networks: vec![view], ..Scope::default() };
        let (own, other) = (scope(own), scope(other));
        assert_eq!(text(own.addresses("store")).as_deref(), Some("10.1.0.2"));
        assert_eq!(text(own.addresses("store.red")).as_deref(), Some("10.1.0.2"));
        assert_eq!(text(own.addresses("cache")).as_deref(), Some("10.1.0.2"));
        assert_eq!(text(own.addresses("gone")), None);
        assert_eq!(text(other.addresses("store")), None);
        assert_eq!(text(other.addresses("cache")).as_deref(), Some("10.1.0.3"));
    }

    /// Addresses lead back to a name of a network that the scope has, and to no other.
    #[test]
    fn owners() {
        let networks = vec![view("red", "10.1.0.0/24", &[("db", "10.1.0.2 fd00::2")])];
        let scope = Scope { networks, ..Scope::default() };
        let owner = |text: &str| scope.owner(text.parse().unwrap());
        assert_eq!(owner("fd00::2"), Owner::Named(vec!["db.red".into()]));
        assert_eq!(owner("10.1.0.9"), Owner::Nobody);
        assert_eq!(owner("10.2.0.2"), Owner::Elsewhere);
    }
}
