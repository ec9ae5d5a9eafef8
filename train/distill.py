"""Stage 4: guidance and few steps in one network.   python train/distill.py --minutes 24

Role     goes on from dit.pt.  Its moving average is the teacher: with text and without, vu + 2.4 (vc - vu) is the target of the
         student, which then needs one pass where classifier-free guidance needs two (dit.guided).  Two batches in ten are made by
         the student itself (dit.self_rollout): four-step generation through its own cache, with the true continuation as
         target; the world is closed form in time, so the truth of any moment is known.
Why      at the same four steps guidance of 1, 2 and 3.5 in two passes read 30, 55 and 78 % of motions right, but 3.5 tears
         objects apart; 2.4 is about the most that stays whole.
Output   $LONGTAKE_WORK/distill.pt, distill.jsonl; export it with train/export.py --dit .../distill.pt
"""
from dit import main

if __name__ == "__main__":
    main("distill", minutes=24, lr=1.2e-3, mix=".34,.34,.12,.20", hold=.3, guide=2.4)
