"""Stage 4: few steps and long rollouts.   python train/distill.py --minutes 20

Role     goes on from dit.pt with a part of the batches made by the model itself (dit.self_rollout): four-step generation
         through its own cache, then regression to the true continuation at the inference sigmas.  The world is closed
         form in time, so the truth of any moment is known and the model learns to correct its own drift.
Output   $LONGTAKE_WORK/distill.pt, distill.jsonl; export it with train/export.py --dit .../distill.pt
"""
from dit import main

if __name__ == "__main__":
    main("distill", minutes=20, lr=8e-4, mix=".3,.15,.15,.4", hold=.1)
