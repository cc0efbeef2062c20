//! Telegrams that are not Modbus: how they are framed and checked, which fields of them are points, and when they are
//! sent. Sans-IO; opens nothing and knows no clock.
