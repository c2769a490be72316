"""Other programs beside ours: so3krates-torch in its own process, ASE's minimisers and Sella."""
