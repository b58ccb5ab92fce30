//! The figures of running services: each on its own address, and only where one is set.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::ports::with_port;
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

async fn scrape(port: u16) -> Result<String> {
    Ok(reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await?.error_for_status()?.text().await?)
}

/// The sum of a counter over its labels.
fn sum(scrape: &str, name: &str) -> Result<f64> {
    let lines = scrape.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.map(|line| Ok(line.rsplit(' ').next().context("an empty line")?.parse::<f64>()?)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_tell_what_they_do_and_that_redis_is_away() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let listen = |name: &str, port: u16| BTreeMap::from([(name.to_owned(), format!("127.0.0.1:{port}"))]);
    let start = |ports: [u16; 2]| {
        let onsale = Onsale::start(&OnsaleOptions {
            redis_url: Some(redis.url()),
            gateway_env: listen("GATEWAY_METRICS_LISTEN", ports[0]),
            core_api_env: listen("CORE_API_METRICS_LISTEN", ports[1]),
            ..OnsaleOptions::default()
        })?;
        Ok((onsale, ports))
    };
    let (onsale, ports) = with_port(None, |gateway| with_port(None, |core_api| start([gateway, core_api])))?;
    reqwest::get(format!("{}/concerts", onsale.url())).await?.error_for_status()?;
    let [gateway, core_api] = [scrape(ports[0]).await?, scrape(ports[1]).await?];
    assert!(sum(&gateway, "onsale_gateway_proxied_requests_total")? >= 1.0, "{gateway}");
    assert!(core_api.contains("onsale_http_requests_total{route=\"/concerts\",status=\"2xx\"} 1\n"), "{core_api}");
    for told in [&gateway, &core_api] {
        assert!(told.contains("\nprocess_resident_memory_bytes ") && told.contains("\nprocess_cpu_seconds_total "));
        assert!(sum(told, "onsale_redis_errors_total")?.abs() < 0.5, "{told}");
    }

    redis.stop();
    let deadline = Instant::now() + PATIENCE;
    let urls = [onsale.gateways()[0].url(), onsale.core_apis()[0].url()];
    for (url, port) in urls.iter().zip(ports) {
        while sum(&scrape(port).await?, "onsale_redis_errors_total")? < 1.0 {
            if Instant::now() > deadline {
                bail!("{url} does not tell that Redis is away");
            }
            // Health asks Redis; that it is ill is no surprise here.
            reqwest::get(format!("{url}/health")).await?;
        }
    }
    Ok(())
}
