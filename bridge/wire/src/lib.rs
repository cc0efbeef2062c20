//! What happens to bytes on a wire: pacing at the speed the applications set, noise, a mismatch of settings, echo,
//! collisions, and faults on purpose. Sans-IO; opens nothing and knows no clock.
