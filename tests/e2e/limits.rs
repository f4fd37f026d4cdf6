//! Few descriptors, and what that costs: one request, never the networks of others.

use vswitch_tests::{Vswitch, guard, run};

/// The largest number of containers that could be needed to reach the limit.
const ENOUGH: usize = 40;

/// Out of descriptors, a container is refused with a sentence that says so; those that run go on, and once one of them has
/// ended there is room again.
#[test]
fn out_of_descriptors() {
    guard(|| {
        let limited = ["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"].map(str::to_owned);
        let vs = Vswitch::stopped_inside("/tmp/vs", &limited, &[]);
        vs.up();
        let first = vs.container("c0", "");
        let second = vs.container("c1", "");
        let mut started = 2;
        let refused = loop {
            assert!(started < ENOUGH, "{ENOUGH} containers with 64 descriptors");
            let said = run(vs
                .ctl_command()
                .args(["run", "-d", "--name", &format!("c{started}")])
                .args(["--", "sleep", "1000"]));
            if said.code != 0 {
                break said;
            }
            started += 1;
        };
        assert!(started > 4, "{started} containers: {refused}");
        let says = |text: &str| refused.stderr.contains(text);
        assert!(says("open files") || says("Too many open files"), "{refused}");
        vs.ok(&format!("rm -f c{started} c2 c3"));
        first.pings(second.ipv4("bridge"));
        vs.container("again", "").pings(first.ipv4("bridge"));
        assert!(!vs.log().contains("the agent of vswitchd ended"), "{}", vs.log());
    });
}
