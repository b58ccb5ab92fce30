//! The reconciler: goes on with payments that nobody else goes on with, since a process died, an answer was lost or the
//! provider was away. It runs in every process; each takes what no other has.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::service::ProviderPayments;

/// How long after its time has come, at most, something is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is told how much is left.
const MEASURE_PAUSE: Duration = Duration::from_secs(5);

/// Reconciles until the process stops.
pub(crate) async fn reconcile(payments: ProviderPayments, stopping: CancellationToken) {
    repeat("reconciler", PAUSE, stopping, || payments.reconcile()).await;
}

/// Tells until the process stops.
pub(crate) async fn measure_payments(payments: ProviderPayments, stopping: CancellationToken) {
    repeat("payment figures", MEASURE_PAUSE, stopping, || async { payments.measure().await.map(|()| false) }).await;
}
