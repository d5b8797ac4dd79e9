"""Write a BIDS study from what any lab has: an array, channel names, onsets, and image files."""

from pathlib import Path

import mne
import mne_bids
import pandas as pd

from braindecode_ssr.datasets.things_sim import ThingsSim

STUDY, SUBJECT = Path("MYSTUDY"), 5
lab = ThingsSim("sim", preset="tiny")  # in place of a lab's own recordings and images

# The folder of an image is its concept: MYSTUDY/stimuli/blubel/blubel_01b.jpg
for image in lab.images.itertuples():
    path = STUDY / "stimuli" / f"{image.image_id}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lab.jpeg(image.image_id))

for recording in lab.recordings(SUBJECT):
    raw = mne.io.RawArray(recording.data, recording.info, verbose="error")
    raw.info["line_freq"] = 50
    path = mne_bids.BIDSPath(
        root=STUDY,
        subject=f"{SUBJECT:02d}",
        session=f"{recording.session:02d}",
        task="look",
        run="1" if recording.split == "train" else "2",
        datatype="eeg",
    )
    mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, verbose="error")
    images = lab.images[lab.images["split"] == recording.split].set_index("number")
    events = pd.DataFrame(
        {
            "onset": recording.samples / recording.sfreq,
            "duration": 0.1,
            "image": images["image_id"].loc[recording.numbers].to_numpy() + ".jpg",
        }
    )
    path.update(suffix="events", extension=".tsv")
    events.to_csv(path.fpath, sep="\t", index=False)

tested = lab.images.loc[lab.images["split"] == "test", "concept"].unique()
(STUDY / "test_concepts.txt").write_text("\n".join(tested), encoding="utf-8")
