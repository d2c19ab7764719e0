//! Ctrl-C and termination: noticed, so that a run ends in order instead of leaving its data behind.

use tokio::sync::watch;

/// Whether the user asked for the end.
#[derive(Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on: the signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// If the system refuses to have the signals listened to.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        #[cfg(unix)]
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::spawn(async move {
            #[cfg(unix)]
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            #[cfg(not(unix))]
            tokio::signal::ctrl_c().await.ok();
            eprintln!("stopping");
            sender.send(true).ok();
        });
        Ok(Self(receiver))
    }

    /// Nobody asks.
    pub(crate) fn never() -> Self {
        Self(watch::channel(false).1)
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once the end is asked for.
    pub(crate) async fn asked(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|asked| *asked).await.is_err() {
            // Nobody listens any more, so that it can't be asked for.
            std::future::pending::<()>().await;
        }
    }
}
