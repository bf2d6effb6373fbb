//! What a training run needs to go on after it was stopped.

use super::{TrainConfig, Trainer};
use crate::io;
use crate::models::file::{to_blob, to_tensor};
use crate::nn::Params;
use crate::optim::AdamW;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Serialize, Deserialize)]
struct Header {
    epoch: usize,
    steps: usize,
    config: TrainConfig,
}

const HEADER: &str = "espalier.training";

impl Trainer<'_> {
    /// Writes parameters, moments, average and settings, atomically.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let AdamW { m, v, steps, .. } = &self.optimizer;
        let header = Header { epoch: self.epoch, steps: *steps, config: self.config.clone() };
        let header = serde_json::to_string(&header).map_err(|e| Error::invalid("training settings", "JSON", e))?;
        let parts = [("param", Some(self.model.params())), ("m", Some(m)), ("v", Some(v)), ("ema", self.ema.as_ref())];
        let mut tensors = Vec::new();
        for (prefix, part) in parts {
            for (name, tensor) in part.into_iter().flat_map(Params::iter) {
                tensors.push((format!("{prefix}/{name}"), to_blob(tensor)?));
            }
        }
        io::safetensors::write(path, &tensors, &[(HEADER.into(), header)])
    }

    /// Reads what [`Trainer::save`] wrote; the settings must be those of this run.
    pub(super) fn load(&mut self, path: &Path) -> Result<()> {
        let (checkpoint, file) = (io::read(path)?, path.display().to_string());
        let bad = |key: &str, expected: String, found: String| {
            Err(Error::Key { file: file.clone(), key: key.into(), expected, found })
        };
        let text = checkpoint.metadata.iter().find(|(key, _)| key == HEADER).ok_or("none".to_string());
        let header: Header = match text.and_then(|(_, text)| serde_json::from_str(text).map_err(|e| e.to_string())) {
            Ok(header) => header,
            Err(found) => return bad(HEADER, "training settings".into(), found),
        };
        let [ours, theirs] =
            [&self.config, &header.config].map(|config| serde_json::to_value(config).unwrap_or_default());
        let differing = ours.as_object().into_iter().flatten().find(|(key, value)| theirs[key.as_str()] != **value);
        if let Some((key, value)) = differing {
            return bad(key, format!("{value} as in this run"), theirs[key.as_str()].to_string());
        }
        let AdamW { m, v, steps, .. } = &mut self.optimizer;
        let parts =
            [("param", Some(self.model.params_mut())), ("m", Some(m)), ("v", Some(v)), ("ema", self.ema.as_mut())];
        for (prefix, part) in parts {
            for (name, tensor) in part.into_iter().flat_map(Params::iter_mut) {
                let key = format!("{prefix}/{name}");
                let blob = checkpoint.require(&key)?;
                if *blob.shape != **tensor.shape() {
                    return bad(&key, format!("{:?}", tensor.shape()), format!("{:?}", blob.shape));
                }
                *tensor = to_tensor(&file, &key, blob)?;
            }
        }
        (self.epoch, *steps) = (header.epoch, header.steps);
        Ok(())
    }
}
